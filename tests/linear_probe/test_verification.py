"""Verification by similarity, by distance and after whitening, against naive loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score, roc_curve

from linear_probe.probes.verification import (
    best_threshold,
    pair_distances,
    pair_similarities,
    verify,
    weighted_rates,
    whitened_similarities,
)


def naive_accuracy(scores, same, threshold):
    right = 0
    for score, is_same in zip(scores, same, strict=True):
        right += (score >= threshold) == is_same
    return right / len(scores)


SCORED = st.lists(
    st.tuples(st.integers(-8, 8).map(lambda i: i / 8), st.booleans()), min_size=1, max_size=30
)


@given(SCORED)
def test_no_threshold_is_better(scored):
    scores, same = map(list, zip(*scored, strict=True))
    found = best_threshold(np.array(scores), np.array(same))
    candidates = [-2.0, 2.0, *scores, *(score + 0.01 for score in scores)]
    best = max(naive_accuracy(scores, same, candidate) for candidate in candidates)
    assert naive_accuracy(scores, same, found) == best


def test_threshold_of_a_known_case():
    scores, same = np.array([0.1, 0.2, 0.6, 0.8]), np.array([False, False, True, True])
    assert best_threshold(scores, same) == pytest.approx(0.4)
    assert best_threshold(scores, ~same | True) < 0.1
    assert best_threshold(scores, same & False) > 0.8


def test_each_fold_is_decided_by_the_others():
    rng = np.random.default_rng(0)
    folds = np.arange(120) % 4
    same = rng.random(120) < 0.5
    scores = same * 0.5 + rng.normal(size=120)
    found = verify(scores, same, folds)
    right = 0
    for fold in range(4):
        others = [i for i in range(120) if folds[i] != fold]
        threshold = best_threshold(scores[others], same[others])
        assert found.thresholds[fold] == threshold
        right += sum((scores[i] >= threshold) == same[i] for i in range(120) if folds[i] == fold)
    assert found.correct.sum() == right
    # What a fold's own pairs are does not reach its threshold.
    poisoned = np.where(folds == 2, ~same, same)
    assert verify(scores, poisoned, folds).thresholds[2] == found.thresholds[2]


def test_similarities_by_a_loop():
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)) + 3
    first, second = np.array([0, 1, 4, 5, 8, 9]), np.array([2, 3, 6, 7, 10, 11])
    folds = np.array([0, 0, 1, 1, 2, 2])
    found = pair_similarities(features, first, second, folds)
    x = features.double().numpy()
    for i in range(6):
        rows = sorted({r for j in range(6) if folds[j] != folds[i] for r in (first[j], second[j])})
        mean = x[rows].mean(axis=0)
        a, b = x[first[i]] - mean, x[second[i]] - mean
        assert found[i] == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_mean_does_not_come_from_the_fold_itself():
    features = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    first, second, folds = np.array([0, 2, 4, 6]), np.array([1, 3, 5, 7]), np.array([0, 0, 1, 1])
    before = pair_similarities(features, first, second, folds)
    features[2] = 1e6  # in fold 0, in its second pair
    after = pair_similarities(features, first, second, folds)
    assert after[0] == before[0]
    assert after[2] != before[2]


def test_areas_are_scikit_learns():
    rng = np.random.default_rng(0)
    same = rng.random(90) < 0.4
    scores = np.round(rng.normal(size=90) + same, 1)  # with ties
    weights = rng.multinomial(90, np.full(90, 1 / 90), size=20)
    found = weighted_rates(scores, same, weights).area
    expected = [roc_auc_score(same, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(found, expected)


def naive_rates(scores, same, threshold):
    """False-accept and true-accept rate of one threshold."""
    accepted = scores >= threshold
    return float(accepted[~same].mean()), float(accepted[same].mean())


BOTH_KINDS = SCORED.filter(lambda pairs: len({kind for _, kind in pairs}) == 2)


@given(BOTH_KINDS, st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_true_accepts_by_a_loop(scored, rate):
    scores, same = (np.array(x) for x in zip(*scored, strict=True))
    found = weighted_rates(scores, same, np.ones((1, len(same))), [rate]).accepted[rate]
    tried = [naive_rates(scores, same, t) for t in [*scores, np.inf]]
    assert found.item() == pytest.approx(max(tar for far, tar in tried if far <= rate))


@given(BOTH_KINDS)
def test_equal_error_is_where_the_roc_curve_meets_the_diagonal(scored):
    scores, same = (np.array(x) for x in zip(*scored, strict=True))
    found = weighted_rates(scores, same, np.ones((1, len(same)))).equal_error.item()
    far, tar, _ = roc_curve(same, scores, drop_intermediate=False)
    # Along the curve's straight lines, as many are falsely accepted as are refused.
    steps = np.arange(len(far))
    along = np.linspace(0, steps[-1], 20001)
    accepted, refused = np.interp(along, steps, far), 1 - np.interp(along, steps, tar)
    assert found == pytest.approx(accepted[np.abs(accepted - refused).argmin()], abs=0.01)


def test_rates_of_known_cases():
    apart, same = np.array([0.9, 0.8, 0.2, 0.1]), np.array([True, True, False, False])
    found = weighted_rates(apart, same, np.ones((1, 4)), [0.0, 0.5])
    assert (found.area, found.equal_error) == (1, 0)
    assert (found.accepted[0.0], found.accepted[0.5]) == (1, 1)
    wrong = weighted_rates(apart, ~same, np.ones((1, 4)), [0.0])
    assert (wrong.area, wrong.equal_error, wrong.accepted[0.0]) == (0, 1, 0)
    blind = weighted_rates(np.zeros(4), same, np.ones((1, 4)), [0.5])
    assert (blind.area, blind.equal_error, blind.accepted[0.5]) == (0.5, 0.5, 0)


def test_drawing_a_pair_twice_is_having_it_twice():
    rng = np.random.default_rng(3)
    same, scores = rng.random(40) < 0.5, np.round(rng.normal(size=40), 1)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=10)
    found = weighted_rates(scores, same, weights, [0.2])
    for i, drawn in enumerate(weights):
        twice = np.repeat(np.arange(40), drawn)
        alone = weighted_rates(scores[twice], same[twice], np.ones((1, len(twice))), [0.2])
        assert found.area[i] == pytest.approx(alone.area.item())
        assert found.equal_error[i] == pytest.approx(alone.equal_error.item())
        assert found.accepted[0.2][i] == pytest.approx(alone.accepted[0.2].item())


def test_rates_of_a_draw_with_one_kind_are_nan():
    same = np.array([True, False])
    found = weighted_rates(np.array([0.1, 0.2]), same, np.array([[2, 0]]), [0.5])
    assert np.isnan([found.area, found.equal_error, found.accepted[0.5]]).all()


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
