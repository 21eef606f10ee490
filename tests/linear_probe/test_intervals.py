"""Bootstrap intervals: what is drawn together, and that they cover."""

from __future__ import annotations

import numpy as np

from linear_probe.stats.intervals import cluster_weights, interval, row_weights, stratum_weights


def test_rows_are_drawn_n_at_a_time() -> None:
    weights = row_weights(7, 50, seed=0)
    assert weights.shape == (50, 7)
    assert (weights.sum(axis=1) == 7).all()
    assert len(np.unique(weights, axis=0)) > 40


def test_clusters_stay_together() -> None:
    clusters = np.array([3, 3, 9, 9, 9, 5])
    weights = cluster_weights(clusters, 50, seed=0)
    for cluster in (3, 9):
        rows = weights[:, clusters == cluster]
        assert (rows == rows[:, :1]).all()
    assert (weights[:, 0] + weights[:, 2] + weights[:, 5] == 3).all()


def test_strata_keep_their_size_and_are_drawn_apart() -> None:
    strata = np.array([0, 1, 0, 1, 0, 1])
    weights = stratum_weights(strata, 50, seed=0)
    for stratum in (0, 1):
        assert (weights[:, strata == stratum].sum(axis=1) == 3).all()
    assert (weights[:, strata == 0] != weights[:, strata == 1]).any()


def test_same_seed_same_draws() -> None:
    assert (row_weights(9, 20, seed=4) == row_weights(9, 20, seed=4)).all()
    assert (row_weights(9, 20, seed=4) != row_weights(9, 20, seed=5)).any()


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        correct = rng.random(150) < 0.7
        low, high = interval(row_weights(150, 400, seed=trial) @ correct / 150)
        covered += low <= 0.7 <= high
    assert 0.89 <= covered / 200 <= 0.99


def test_clustered_errors_need_clusters_to_be_covered() -> None:
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


def test_nan_replicates_are_left_out() -> None:
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
