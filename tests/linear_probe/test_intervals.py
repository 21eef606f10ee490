"""Bootstrap intervals: what is drawn together, and that they cover."""

import numpy as np
import pytest

from linear_probe.records.replicates import interval
from linear_probe.stats import intervals
from linear_probe.stats.intervals import cluster_weights, pair_weights, row_weights
from linear_probe.tasks.identity import person_numbers
from ssl_faces.data import FacePair


def test_rows_are_drawn_n_at_a_time():
    weights = row_weights(7, 50, seed=0)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert len(np.unique(weights, axis=0)) > 40


def test_clusters_stay_together():
    clusters = np.array([3, 3, 9, 9, 9, 5])
    weights = cluster_weights(clusters, 50, seed=0)
    for cluster in (3, 9):
        rows = weights[:, clusters == cluster]
        assert (rows == rows[:, :1]).all()
    assert (weights[:, 0] + weights[:, 2] + weights[:, 5] == 3).all()


def test_pairs_that_share_a_person_vary_together():
    people = np.array([[0, 1], [1, 2], [2, 2], [2, 2], [3, 4]])
    weights = pair_weights(people, np.arange(5) * 0, 20000, seed=0)
    assert np.allclose(weights.sum(axis=1), 5, rtol=1e-5)
    assert (weights > 0).all()
    related = np.corrcoef(weights.T)
    shared = (people[:, None, :, None] == people[None, :, None, :]).any(axis=(2, 3))
    np.fill_diagonal(shared, False)
    apart = ~shared & ~np.eye(5, dtype=bool)
    assert related[shared].min() > related[apart].max() + 0.3
    # The two pairs of one person are one cluster.
    assert related[2, 3] == pytest.approx(1)


def test_strata_keep_their_number_of_pairs():
    strata = np.array([0, 1, 0, 1, 0, 1])
    weights = pair_weights(np.arange(12).reshape(6, 2), strata, 2000, seed=0)
    for stratum in (0, 1):
        assert np.allclose(weights[:, strata == stratum].sum(axis=1), 3, rtol=1e-5)
    # Pairs without a common person are drawn apart, with the variance of a bootstrap's.
    assert abs(np.corrcoef(weights.T)[0, 1]) < 0.1
    many = pair_weights(np.arange(600).reshape(300, 2), np.zeros(300), 400, seed=0)
    assert many.var() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("connected", ["eigenvalues", "incidence"])
def test_pairs_of_people_who_differ_need_people_to_be_covered(connected, monkeypatch):
    """As in CFP: ten folds of people, each in several pairs, some easier to verify."""
    if connected == "incidence":
        monkeypatch.setattr(intervals, "_MOST_PAIRS", 0)
    rng = np.random.default_rng(0)
    folds = np.repeat(np.arange(10), 60)
    local = np.array([rng.choice(15, 2, replace=False) for _ in range(600)])
    local[::2, 1] = local[::2, 0]
    people = local + 15 * folds[:, None]
    effects = rng.normal(size=(200, 150))
    right = effects[:, people].mean(axis=2) + rng.normal(size=(200, 600)) > 0
    covered = {}
    for name, weights in (
        ("people", pair_weights(people, np.arange(600) % 2, 300, 0)),
        ("pairs", row_weights(600, 300, 0)),
    ):
        low, high = np.transpose([interval(r) for r in right @ weights.T / 600])
        covered[name] = np.mean((low <= 0.5) & (high >= 0.5))
    assert covered["pairs"] < 0.8
    assert covered["people"] >= 0.92
    if connected == "eigenvalues":  # not much wider than they need to be
        assert covered["people"] <= 0.985


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        correct = rng.random(150) < 0.7
        low, high = interval(row_weights(150, 400, seed=trial) @ correct / 150)
        covered += low <= 0.7 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_clustered_errors_need_clusters_to_be_covered():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 10)
    covered = {"clusters": 0, "rows": 0}
    for trial in range(100):
        errors = (5 + rng.normal(size=40))[clusters] + rng.normal(size=400)
        for name, weights in (
            ("clusters", cluster_weights(clusters, 300, trial)),
            ("rows", row_weights(400, 300, trial)),
        ):
            low, high = interval(weights @ errors / weights.sum(axis=1))
            covered[name] += low <= 5 <= high
    assert covered["clusters"] >= 86
    assert covered["rows"] < 75


def test_nan_replicates_are_left_out():
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)


def test_who_is_in_the_pairs():
    """By name; without one by the pairs that show one person."""
    pairs = [
        *(FacePair("a1", "a2", True, 0), FacePair("a1", "x1", False, 0)),
        *(FacePair("x1", "x2", True, 1), FacePair("x2", "y1", False, 1)),
    ]
    person = person_numbers(pairs, {"a1": "Ann", "a2": "Ann", "y1": None})
    assert person["a1"] == person["a2"]
    assert person["x1"] == person["x2"]
    assert len({person[key] for key in ("a1", "x1", "y1")}) == 3
