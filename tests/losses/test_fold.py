"""The fold term against a naive loop, and on flows whose answer is known."""

from __future__ import annotations

import pytest
import torch

from ssl_faces.losses.fold import FoldLoss


def naive(flow: torch.Tensor, least: float) -> float:
    count, _, height, width = flow.shape
    step_x, step_y = 2 / (width - 1), 2 / (height - 1)
    shortfalls = []
    for b in range(count):
        for y in range(height):
            for x in range(width):
                if x + 1 < width:
                    left = -1 + x * step_x + float(flow[b, 0, y, x])
                    right = -1 + (x + 1) * step_x + float(flow[b, 0, y, x + 1])
                    shortfalls.append(max(0.0, least - (right - left) / step_x))
                if y + 1 < height:
                    above = -1 + y * step_y + float(flow[b, 1, y, x])
                    below = -1 + (y + 1) * step_y + float(flow[b, 1, y + 1, x])
                    shortfalls.append(max(0.0, least - (below - above) / step_y))
    return sum(shortfalls) / len(shortfalls)


@pytest.mark.parametrize("least", [0.0, 0.25, 1.0])
def test_equals_a_naive_loop(least: float) -> None:
    flow = 0.4 * torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    assert FoldLoss(least)(flow).item() == pytest.approx(naive(flow, least), rel=1e-5)


def test_no_flow_translations_and_stretches_cost_nothing() -> None:
    line = torch.linspace(-1, 1, 16)
    for flow_x in (torch.zeros(16), torch.full((16,), 0.7), 0.5 * line, -0.7 * line):
        flow = torch.zeros(1, 2, 16, 16)
        flow[0, 0] = flow_x
        flow[0, 1] = flow_x[:, None]
        assert FoldLoss()(flow).item() == 0


def test_a_mirror_image_costs_its_whole_turn() -> None:
    """Looking at -x from x: neighbours lie -1 spacings apart, in the one direction of two."""
    flow = torch.zeros(1, 2, 16, 16)
    flow[0, 0] = -2 * torch.linspace(-1, 1, 16)
    assert FoldLoss(0.25)(flow).item() == pytest.approx(1.25 / 2, rel=1e-5)


def test_half_a_face_shown_twice_costs_and_its_gradient_unfolds_it() -> None:
    x = torch.linspace(-1, 1, 16)
    flow = torch.zeros(1, 2, 16, 16)
    flow[0, 0] = x.abs() - x  # the left half looks at the right one
    flow.requires_grad_(True)
    loss = FoldLoss()(flow)
    loss.backward()
    assert loss.item() > 0.25
    better = (flow - 0.5 * flow.grad / flow.grad.norm()).detach()
    assert FoldLoss()(better).item() < loss.item()


def test_in_bfloat16_it_is_computed_in_float32() -> None:
    flow = torch.zeros(1, 2, 4, 4, dtype=torch.bfloat16)
    assert FoldLoss()(flow).dtype == torch.float32
