"""Verification against naive loops."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from linear_probe.probes.verification import (
    best_threshold,
    pair_similarities,
    verify,
    weighted_rates,
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
