"""The probes during training against naive loops."""

import math

import numpy as np
import pytest
import torch

from ssl_faces.callbacks.online_probe import (
    NEIGHBOURS,
    RIDGE,
    TEMPERATURE,
    absolute_errors,
    class_accuracies,
    figures_of,
    probed_spaces,
    standardised,
)
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder

CLASSES = 4


def faces(count, seed, dims=12):
    """Features that tell their class (and their number) but for noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=draw)
    centres = torch.randn(CLASSES, dims, generator=torch.Generator().manual_seed(99))
    return centres[labels] + 1.2 * torch.randn(count, dims, generator=draw), labels


def scaled(bank, queries):
    one, two = bank.double().numpy(), queries.double().numpy()
    return (one - one.mean(0)) / one.std(0), (two - one.mean(0)) / one.std(0)


def naive_votes(bank, labels, queries):
    result = []
    for query in queries:
        cosines = [float(query @ x / np.linalg.norm(query) / np.linalg.norm(x)) for x in bank]
        nearest = sorted(range(len(bank)), key=lambda i: -cosines[i])[:NEIGHBOURS]
        votes = [0.0] * CLASSES
        for i in nearest:
            votes[labels[i]] += math.exp(cosines[i] / TEMPERATURE)
        result.append(votes.index(max(votes)))
    return result


def naive_ridge(bank, targets, queries):
    mean = targets.mean(0)
    gram = bank.T @ bank + RIDGE * len(bank) * np.eye(bank.shape[1])
    return queries @ np.linalg.solve(gram, bank.T @ (targets - mean)) + mean


@pytest.mark.parametrize("count", [20, 300])
def test_accuracies(count):
    """Also with a bank smaller than the number of neighbours."""
    bank, labels = faces(count, 1)
    queries, truth = faces(120, 2)
    result = class_accuracies(bank, labels, queries, truth)
    one, two = scaled(bank, queries)
    voted = np.array(naive_votes(one, labels.tolist(), two))
    assert result["knn"] == pytest.approx(100 * (voted == truth.numpy()).mean())
    columns = 2.0 * np.eye(CLASSES)[labels] - 1
    message = naive_ridge(one, columns, two).argmax(1)
    assert result["linear"] == pytest.approx(100 * (message == truth.numpy()).mean(), abs=1)
    assert 50 < result["knn"] < 100


@pytest.mark.parametrize("columns", [1, 2])
def test_errors(columns):
    bank, queries = faces(200, 3)[0], faces(50, 4)[0]
    targets, truth = bank[:, :columns] * 10 + 5, queries[:, :columns] * 10 + 5
    one, two = scaled(bank, queries)
    expected = np.abs(naive_ridge(one, targets.double().numpy(), two) - truth.numpy()).mean(0)
    np.testing.assert_allclose(absolute_errors(bank, targets, queries, truth), expected, 1e-4)


def test_constant_features():
    bank = torch.full((60, 8), 0.1)
    labels = torch.arange(60) % 3 // 2  # two thirds are 0
    figures = figures_of(
        torch.cat((bank, bank[:30])),
        {"expression": torch.cat((labels, labels[:30])), "pose": torch.arange(270.0).view(90, 3)},
        60,
    )
    assert figures["expression_linear"] == pytest.approx(200 / 3)
    assert figures["yaw_mae"] == pytest.approx((torch.arange(60, 90) * 3 - 3 * 29.5).mean())
    assert standardised(bank, bank)[0].abs().max() == 0


def test_maps_are_not_probed():
    encoder = FaceCycleEncoder(width=4, code_dim=8, code_size=32, identity=True)
    assert probed_spaces(encoder) == ["expression", "identity"]
    assert probed_spaces(BackboneEncoder("resnet18", 32, 0.125)) == ["pooled"]
