"""Effective rank, LiDAR and spread against naive loops, and warnings about collapsed features."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssl_faces.callbacks.collapse import (
    LEAST_RANK,
    LEAST_STD,
    ROWS,
    CollapseWatch,
    effective_rank,
    lidar,
    spread,
)
from ssl_faces.callbacks.last_checkpoint import SameCheckpoint
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
from ssl_faces.common.errors import InputError
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from ssl_faces.rendered import RenderedFaces


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive_rank(features):
    singular = np.linalg.svd(features.double().numpy(), compute_uv=False)
    entropy = 0.0
    for value in singular:
        share = value / singular.sum() + 1e-7
        entropy -= share * math.log(share)
    return math.exp(entropy)


def naive_spread(features):
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in features.tolist()]
    total = 0.0
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        total += math.sqrt(sum((x - mean) ** 2 for x in column) / (len(column) - 1))
    return total / len(rows[0]) * math.sqrt(len(rows[0]))


@given(st.integers(2, 30), st.integers(2, 30), st.integers(0, 100))
def test_both_measures_are_those_of_a_naive_loop(count, dims, seed):
    features = draw(count, dims, seed=seed) + 2 * draw(dims, seed=seed + 1)
    assert effective_rank(features) == pytest.approx(naive_rank(features), rel=1e-4)
    assert effective_rank(0 * features) == 0
    assert spread(features) == pytest.approx(naive_spread(features), rel=1e-4)


def naive_lidar(features, delta):
    """By the covariances in loops, and a square root of a matrix."""
    rows = features.double().numpy()
    count, views, dims = rows.shape
    centre = rows.mean((0, 1))
    between, within = np.zeros((dims, dims)), delta * np.eye(dims)
    for image in rows:
        mean = image.mean(0)
        between += np.outer(mean - centre, mean - centre) / count
        for row in image:
            within += np.outer(row - mean, row - mean) / (count * views)
    values, vectors = np.linalg.eigh(within)
    root = vectors @ np.diag(values**-0.5) @ vectors.T
    eigenvalues = np.linalg.eigvalsh(root @ between @ root)
    shares = np.maximum(eigenvalues, 0) / eigenvalues.sum() + 1e-7
    return math.exp(-sum(share * math.log(share) for share in shares))


@given(st.integers(3, 12), st.integers(2, 5), st.integers(2, 15), st.integers(0, 100))
def test_lidar_is_that_of_a_naive_loop(count, views, dims, seed):
    features = draw(count, 1, dims, seed=seed) + 0.3 * draw(count, views, dims, seed=seed + 1)
    expected = naive_lidar(features, 1e-4)
    assert lidar(features) == pytest.approx(expected, rel=1e-3)
    assert 1 - 1e-3 <= lidar(features) <= min(count - 1, dims) * 1.001


def test_lidar_counts_what_differs_between_images_alone():
    """Three directions of images beside thirteen of noise, at any linear map of the features; and
    none where the views' means are equal."""
    images = torch.zeros(1000, 1, 16)
    images[..., :3] = 10 * draw(1000, 1, 3)
    features = images + draw(1000, 8, 16, seed=1)
    assert lidar(features) == pytest.approx(3.1, abs=0.4)
    assert effective_rank(features.flatten(0, 1)) > 6
    mixed = features @ draw(16, 16, seed=2)
    assert lidar(mixed, delta=1e-9) == pytest.approx(lidar(features, delta=1e-9), rel=1e-3)
    assert lidar(features - features.mean(1, keepdim=True)) == 0


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_the_rank_of_equal_directions_is_their_number(rank):
    basis = torch.linalg.qr(draw(40, rank)).Q
    others = torch.linalg.qr(draw(25, rank, seed=1)).Q
    for features in (basis @ others.T, others @ basis.T, 1e-4 * basis @ others.T):
        assert effective_rank(features) == pytest.approx(rank, rel=1e-4)


# Warnings ---------------------------------------------------------------------------------------

CONSTANT = draw(1, 64).expand(300, 64)
COLLAPSED = {
    "constant": CONSTANT,
    "constant but for rounding": CONSTANT.bfloat16().float() * (1 + 0.002 * draw(300, 64)),
    "zero": torch.zeros(300, 64),
    "rank one": draw(300, 1, seed=2) * draw(1, 64, seed=3),
    "rank one, off the origin": CONSTANT + draw(300, 1, seed=2) * draw(1, 64, seed=3),
    "NaN": torch.full((300, 64), torch.nan),
}


@pytest.mark.parametrize("what", COLLAPSED)
def test_one_warning_about_collapsed_features(what):
    watch = CollapseWatch()
    _, first = watch.measure("code", COLLAPSED[what])
    assert "'code' have collapsed" in first
    assert watch.measure("code", COLLAPSED[what])[1] is None
    assert watch.measure("other", COLLAPSED[what])[1] is not None


@pytest.mark.parametrize(
    "features",
    [draw(300, 64), draw(300, 64) + 5, draw(300, 4), draw(300, 1), draw(3, 500)],
    ids=["wide", "off the origin", "four numbers", "one number", "three pictures"],
)
def test_sound_features_are_not(features):
    result, warning = CollapseWatch().measure("code", features)
    assert warning is None
    assert set(result) == {"rank", "std"}


def test_at_most_so_many_rows_from_all_over_are_measured():
    """The first half is constant: were only its rows taken, that would be a collapse."""
    features = torch.cat((draw(1, 32).expand(2 * ROWS, 32), draw(2 * ROWS, 32)))
    result, warning = CollapseWatch().measure("code", features)
    assert warning is None
    assert result["rank"] == pytest.approx(naive_rank(features[::4]), rel=1e-4)


def _facecycle(width, std):
    encoder = FaceCycleEncoder(width=width, code_size=48, linear_std=std).eval()
    return lambda x: encoder(x, ["expression"])["expression"]


@pytest.mark.parametrize("kind", ["small", "paper", "resnet"])
def test_untrained_networks_raise_no_alarm(kind):
    faces = RenderedFaces(count=96, people=48, part="all", size=48)
    images = faces.render_batch(range(96)).float() / 255
    torch.manual_seed(0)
    make = {
        "small": lambda: _facecycle(16, 0.04),
        "paper": lambda: _facecycle(64, 0.01),
        "resnet": lambda: BackboneEncoder("resnet18", 48).eval(),
    }
    with torch.no_grad():
        features = make[kind]()(images)
        features = features["pooled"] if isinstance(features, dict) else features
    result, warning = CollapseWatch().measure("code", features)
    assert warning is None
    assert result["std"] > 5 * LEAST_STD
    assert result["rank"] > 5
    assert effective_rank(features - features.mean(0)) > 5 * LEAST_RANK


@pytest.mark.parametrize("paths", [["", ""], ["a.ckpt"] * 3, ["a.ckpt", ""], ["", "a.ckpt"]])
def test_all_processes_have_the_same_checkpoint(paths):
    def decide(same, all):
        assert all
        assert same == (path == paths[0])
        return len(set(paths)) == 1

    strategy = SimpleNamespace(broadcast=lambda _: paths[0], reduce_boolean_decision=decide)
    trainer = SimpleNamespace(strategy=strategy)
    for path in paths:
        callback = SameCheckpoint(path or None)
        if len(set(paths)) == 1:
            callback.setup(trainer, None, "fit")
        else:
            with pytest.raises(InputError, match="not all processes find the run's checkpoint"):
                callback.setup(trainer, None, "fit")


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
