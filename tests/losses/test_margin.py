"""The margin loss in closed form."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_faces.losses.margin import MarginLoss


@settings(max_examples=50, deadline=None)
@given(
    mean_face=st.floats(-3, 3),
    neutral=st.floats(-3, 3),
    margin=st.floats(0, 1),
)
def test_of_flat_faces(mean_face: float, neutral: float, margin: float) -> None:
    one, other = (torch.full((2, 3, 4, 4), v, dtype=torch.float64) for v in (mean_face, neutral))
    assert MarginLoss(margin)(one, other).item() == pytest.approx(
        abs(mean_face - neutral) - margin, abs=1e-12
    )


def test_averages_over_pixels_without_clipping_any() -> None:
    """Distances 0, 0.05, 0.3 and 1 at a margin of 0.1: −0.1, −0.05, 0.2 and 0.9."""
    mean_face = torch.tensor([0.0, 0.05, -0.3, 1.0]).view(1, 1, 2, 2)
    loss = MarginLoss()(mean_face, torch.zeros(1, 1, 2, 2))
    assert loss.item() == pytest.approx((-0.1 - 0.05 + 0.2 + 0.9) / 4, abs=1e-7)


def test_one_mean_face_serves_a_batch() -> None:
    mean_face, neutral = torch.randn(1, 3, 4, 4), torch.randn(5, 3, 4, 4)
    loss = MarginLoss()(mean_face, neutral)
    torch.testing.assert_close(loss, MarginLoss()(mean_face.expand(5, -1, -1, -1), neutral))


def test_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randn(2, 2, 2, 3, 3, dtype=torch.float64, generator=draw)
    mean_face, neutral = pictures.requires_grad_()
    assert torch.autograd.gradcheck(MarginLoss(), (mean_face, neutral))
