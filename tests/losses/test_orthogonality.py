"""The orthogonality term: closed forms, and PCL's definition over the products of all columns."""

from __future__ import annotations

import pytest
import torch

from ssl_faces.losses.orthogonality import OrthogonalityLoss


def test_nothing_in_common_is_0_and_the_same_direction_is_1() -> None:
    loss = OrthogonalityLoss()
    sign = torch.tensor([1.0, -1, 1, -1])
    other = torch.tensor([1.0, 1, -1, -1])
    first = sign[:, None] * torch.tensor([[3.0, 4.0]])
    assert loss(first, 7 * sign[:, None] * torch.tensor([[0.0, 1.0, 0.0]])).item() == (
        pytest.approx(1, abs=1e-5)
    )
    assert loss(first, other[:, None] * torch.tensor([[2.0, 1.0]])).item() == (
        pytest.approx(0, abs=1e-6)
    )


def test_is_pcls_mean_over_column_products_rescaled() -> None:
    draw = torch.Generator().manual_seed(0)
    first, second = torch.randn(6, 4, generator=draw), torch.randn(6, 3, generator=draw) + 5
    a, b = first - first.mean(0), second - second.mean(0)
    total = 0.0
    for i in range(4):
        for j in range(3):
            product = sum(a[n, i] / a[n].norm() * b[n, j] / b[n].norm() for n in range(6))
            total += float(product) ** 2
    assert OrthogonalityLoss()(first, second).item() == pytest.approx(total / 36, abs=1e-5)


def test_training_by_it_takes_what_is_shared_away() -> None:
    draw = torch.Generator().manual_seed(0)
    data = torch.randn(64, 6, generator=draw)
    first = torch.randn(6, 3, generator=draw).requires_grad_()
    # Not the same: what is the same for both stays so.
    second = (first + 0.1 * torch.randn(6, 3, generator=draw)).detach().requires_grad_()
    optimizer = torch.optim.Adam([first, second], 0.05)
    loss = OrthogonalityLoss()
    begin = loss(data @ first, data @ second).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(data @ first, data @ second).backward()
        optimizer.step()
    # For independent ones it is 1 of 64, and what chance leaves in common.
    assert loss(data @ first, data @ second).item() < 0.2 * begin
