"""Verification by distance and after whitening, against naive loops and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from linear_probe.probes.verification import (
    pair_distances,
    pair_similarities,
    verify,
    whitened_similarities,
)

FOLDS = 3
GRID = (2, 4, 8)


def some_pairs(people=60):
    """Two pictures of each person; identity is in quiet directions, noise in loud ones."""
    rng = np.random.default_rng(0)
    dim, count = 12, 2 * people
    quiet = np.repeat(rng.normal(size=(people, 6)), 2, axis=0) + 0.3 * rng.normal(size=(count, 6))
    loud = 20 * rng.normal(size=(count, dim - 6))
    features = torch.from_numpy(np.concatenate([loud, quiet], axis=1) + 5).float()
    fold_of = np.repeat(np.arange(people) % FOLDS, 2)
    first, second, same, folds = [], [], [], []
    for fold in range(FOLDS):
        rows = np.flatnonzero(fold_of == fold)
        for a, b in rows.reshape(-1, 2):
            first += [a, a]
            second += [b, (set(rows.tolist()) - {a, b}).pop()]
            same += [True, False]
            folds += [fold, fold]
    return features, np.array(first), np.array(second), np.array(same), np.array(folds)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_whitened_by_a_loop():
    features, first, second, same, folds = some_pairs()
    found = whitened_similarities(features, first, second, same, folds, GRID)
    x = features.double().numpy()
    for fold in range(FOLDS):
        others = [i for i in range(len(folds)) if folds[i] != fold]
        rows = sorted({r for i in others for r in (first[i], second[i])})
        scored = {}
        for dims in GRID:
            pca = PCA(dims, whiten=True, svd_solver="full").fit(x[rows])
            one, other = pca.transform(x[first]), pca.transform(x[second])
            similar = np.array([cosine(a, b) for a, b in zip(one, other, strict=True)])
            scored[dims] = (roc_auc_score(same[others], similar[others]), similar)
        best = max(GRID, key=lambda d: (scored[d][0], -d))
        assert found.dims[fold] == best
        here = folds == fold
        np.testing.assert_allclose(found.similarities[here], scored[best][1][here], atol=1e-4)


def test_whitening_hears_quiet_directions():
    features, first, second, same, folds = some_pairs(people=240)
    plain = pair_similarities(features, first, second, folds)
    found = whitened_similarities(features, first, second, same, folds, (4, 12))
    assert verify(plain, same, folds).correct.mean() < 0.65
    assert verify(found.similarities, same, folds).correct.mean() > 0.8
    assert found.dims.tolist() == [12, 12, 12]
    assert not found.at_grid_edge  # there are no more directions
    assert whitened_similarities(features, first, second, same, folds, (4, 11)).at_grid_edge


def test_a_fold_teaches_itself_nothing():
    features, first, second, same, folds = some_pairs()
    before = whitened_similarities(features, first, second, same, folds, GRID)
    here = folds == 1
    others_rows = np.unique(np.concatenate([first[~here], second[~here]]))
    (own,) = np.flatnonzero(here)[:1]
    assert not {first[own], second[own]} & set(others_rows.tolist())
    poisoned = features.clone()
    poisoned[first[own]] = 1e4
    after = whitened_similarities(poisoned, first, second, np.where(here, ~same, same), folds, GRID)
    assert after.dims[1] == before.dims[1]
    untouched = here & (first != first[own]) & (second != first[own])
    assert (after.similarities[untouched] == before.similarities[untouched]).all()
    assert after.similarities[own] != before.similarities[own]


def test_many_features_are_whitened_the_same_each_time():
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.normal(size=(1200, 600)) * np.linspace(3, 0.1, 600)).float()
    first, second = np.arange(0, 1200, 2), np.arange(1, 1200, 2)
    same, folds = rng.random(600) < 0.5, np.arange(600) % 2
    one, other = (
        whitened_similarities(features, first, second, same, folds, (8,)) for _ in range(2)
    )
    assert (one.similarities == other.similarities).all()


def test_distances_by_a_loop():
    features, first, second, _, _ = some_pairs()
    x = features.double().numpy()
    expected = [
        float(np.sqrt(((x[a] - x[b]) ** 2).sum())) for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(pair_distances(features, first, second), expected)


@pytest.mark.parametrize("value", [0.0, 0.1, -1234.567])
def test_of_constant_features_nothing_is_told(value):
    _, first, second, same, folds = some_pairs()
    features = torch.full((120, 12), value)
    assert (pair_similarities(features, first, second, folds) == 0).all()
    assert (pair_distances(features, first, second) == 0).all()
    found = whitened_similarities(features, first, second, same, folds)
    assert (found.similarities == 0).all()
    assert verify(found.similarities, same, folds).correct.mean() == pytest.approx(0.5)


def test_degraded_pairs_are_decided_by_clean_thresholds_and_means():
    features, first, second, same, folds = some_pairs()
    clean = pair_similarities(features, first, second, folds)
    degraded = features + torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    asked = pair_similarities(features, first, second, folds, degraded)
    x, z = features.double().numpy(), degraded.double().numpy()
    found = verify(clean, same, folds, asked)
    assert (found.thresholds == verify(clean, same, folds).thresholds).all()
    for i, fold in enumerate(folds):
        rows = sorted({r for j in np.flatnonzero(folds != fold) for r in (first[j], second[j])})
        mean = x[rows].mean(axis=0)
        assert asked[i] == pytest.approx(cosine(z[first[i]] - mean, z[second[i]] - mean))
        assert found.correct[i] == ((asked[i] >= found.thresholds[fold]) == same[i])
