"""The symmetry loss against a loop over columns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssl_faces.losses.symmetry import SymmetryLoss


def naive_symmetry(x: Tensor) -> Tensor:
    width = x.shape[-1]
    differences = [(x[..., i] - x[..., width - 1 - i]).abs() for i in range(width // 2)]
    return torch.stack(differences).mean()


@pytest.mark.parametrize("width", [2, 3, 8, 9, 64])
def test_equals_a_loop_over_columns(width: int) -> None:
    x = torch.randn(2, 3, 5, width, generator=torch.Generator().manual_seed(width))
    torch.testing.assert_close(SymmetryLoss()(x), naive_symmetry(x))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), half=st.integers(1, 9), odd=st.booleans())
def test_is_zero_for_mirrored_pictures_only(seed: int, half: int, odd: bool) -> None:
    left = torch.randn(2, 3, 4, half + odd, generator=torch.Generator().manual_seed(seed))
    mirrored = torch.cat((left, left[..., :half].flip(-1)), -1)
    assert mirrored.shape[-1] == 2 * half + odd
    assert SymmetryLoss()(mirrored) == 0
    mirrored[1, 2, 3, 0] += 1
    # One pixel among 2·3·4·half pairs of pixels.
    assert SymmetryLoss()(mirrored).item() == pytest.approx(1 / (24 * half))


def test_is_the_same_for_the_mirror_image() -> None:
    x = torch.randn(2, 3, 5, 8)
    torch.testing.assert_close(SymmetryLoss()(x), SymmetryLoss()(x.flip(-1)))


@pytest.mark.parametrize("width", [6, 7])
def test_gradient(width: int) -> None:
    x = torch.randn(1, 2, 3, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(SymmetryLoss(), x.requires_grad_())
