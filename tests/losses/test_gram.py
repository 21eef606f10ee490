"""Gram matrices and their loss against loops over channels, positions and layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ssl_faces.losses.gram import GramLoss, gram_matrix


def naive_gram(features: Tensor) -> Tensor:
    batch, channels, height, width = features.shape
    gram = torch.zeros(batch, channels, channels, dtype=torch.float64)
    for b in range(batch):
        for i in range(channels):
            for j in range(channels):
                for row in range(height):
                    for column in range(width):
                        product = features[b, i, row, column] * features[b, j, row, column]
                        gram[b, i, j] = gram[b, i, j] + product.double()
    return gram / (height * width)


def naive_loss(prediction: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
    """Rendering r of picture b lies at r·B + b of the prediction."""
    total = torch.zeros((), dtype=torch.float64)
    for layer, features in prediction.items():
        wanted, got = naive_gram(target[layer]), naive_gram(features)
        squares = [(got[i] - wanted[i % len(wanted)]) ** 2 for i in range(len(got))]
        total = total + torch.stack(squares).mean()
    return total


def features_of(pictures: int, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "relu2_1": torch.randn(pictures, 2, 4, 3, generator=generator),
        "relu3_1": torch.randn(pictures, 3, 2, 2, generator=generator),
    }


def test_gram_matrix_equals_a_loop() -> None:
    features = features_of(2, 0)["relu2_1"]
    gram = gram_matrix(features)
    assert gram.shape == (2, 2, 2)
    torch.testing.assert_close(gram.double(), naive_gram(features))


def test_gram_matrix_does_not_grow_with_the_size() -> None:
    features = features_of(2, 0)["relu2_1"]
    torch.testing.assert_close(gram_matrix(features.repeat(1, 1, 3, 2)), gram_matrix(features))


def test_gram_matrix_does_not_know_where() -> None:
    features = features_of(2, 0)["relu2_1"]
    shuffled = features.flatten(2)[..., torch.randperm(12)].view_as(features)
    torch.testing.assert_close(gram_matrix(shuffled), gram_matrix(features))


def test_gram_matrix_is_float32_of_half_precision() -> None:
    assert gram_matrix(features_of(1, 0)["relu2_1"].bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("renderings", [1, 3])
def test_loss_equals_a_loop(renderings: int) -> None:
    target, prediction = features_of(2, 0), features_of(2 * renderings, 1)
    loss = GramLoss()(prediction, target)
    assert loss.shape == ()
    assert loss.item() == pytest.approx(naive_loss(prediction, target).item(), rel=1e-5)


def test_gradient_equals_the_loops_and_leaves_the_target_alone() -> None:
    target = {k: v.requires_grad_() for k, v in features_of(2, 0).items()}
    ours = {k: v.requires_grad_() for k, v in features_of(4, 1).items()}
    GramLoss()(ours, target).backward()
    theirs = {k: v.detach().double().requires_grad_() for k, v in ours.items()}
    naive_loss(theirs, {k: v.detach() for k, v in target.items()}).backward()
    for layer in ours:
        torch.testing.assert_close(ours[layer].grad.double(), theirs[layer].grad)
        assert target[layer].grad is None


def test_loss_counts_only_the_layers_of_the_prediction() -> None:
    target, prediction = features_of(2, 0), features_of(2, 1)
    both = GramLoss()(prediction, target)
    parts = [GramLoss()({layer: prediction[layer]}, target) for layer in prediction]
    assert min(part.item() for part in parts) > 0
    torch.testing.assert_close(both, sum(parts))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), renderings=st.integers(1, 3))
def test_loss_is_never_negative_and_zero_for_the_target_itself(seed: int, renderings: int) -> None:
    target = features_of(2, seed)
    same = {k: v.repeat(renderings, 1, 1, 1) for k, v in target.items()}
    assert GramLoss()(same, target).item() == pytest.approx(0, abs=1e-10)
    assert GramLoss()(features_of(2 * renderings, seed + 1), target).item() > 0
