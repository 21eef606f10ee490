"""The cross-correlation loss against numpy's correlations, its ends, and its slope."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssl_faces.losses.correlation import CrossCorrelationLoss


@pytest.mark.parametrize(("count", "first", "second"), [(12, 5, 7), (6, 9, 8)])
def test_it_is_the_mean_of_numpys_squared_correlations(count: int, first: int, second: int) -> None:
    torch.manual_seed(count)
    a = torch.randn(count, first)
    b = a @ torch.randn(first, second) + torch.randn(count, second) + 3
    squares = [
        np.corrcoef(a[:, i].numpy(), b[:, j].numpy())[0, 1] ** 2
        for i in range(first)
        for j in range(second)
    ]
    assert CrossCorrelationLoss()(a, b).item() == pytest.approx(np.mean(squares), rel=1e-4)


def test_scaled_shifted_and_turned_over_is_the_same() -> None:
    a = torch.randn(40, 1)
    assert CrossCorrelationLoss()(a, 1 - 3 * a).item() == pytest.approx(1, abs=1e-4)


def test_independent_codes_have_about_one_over_n() -> None:
    torch.manual_seed(0)
    found = CrossCorrelationLoss()(torch.randn(500, 40), torch.randn(500, 40)).item()
    assert found == pytest.approx(1 / 500, rel=0.2)


def test_a_code_that_is_the_same_for_all_has_none_and_a_finite_slope() -> None:
    a, b = torch.randn(8, 3), torch.nn.Parameter(torch.ones(8, 2))
    loss = CrossCorrelationLoss()(a, b)
    loss.backward()
    assert loss.item() == 0
    assert b.grad is not None
    assert torch.isfinite(b.grad).all()


def test_going_down_its_slope_makes_codes_independent() -> None:
    torch.manual_seed(0)
    a = torch.randn(200, 4)
    b = torch.nn.Parameter(a @ torch.randn(4, 4) + 0.1 * torch.randn(200, 4))
    optimizer = torch.optim.Adam([b], lr=0.05)
    first = CrossCorrelationLoss()(a, b).item()
    for _ in range(300):
        optimizer.zero_grad()
        loss = CrossCorrelationLoss()(a, b)
        loss.backward()
        optimizer.step()
    assert first > 0.15
    assert loss.item() < 0.01
