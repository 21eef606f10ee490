"""Bootstrap: the uncertainty of a figure, given how its test rows depend on each other.

A replicate is a vector of weights: how often each test row was drawn. Figures are computed with
weights, so that rows, clusters (people) and strata (folds) differ only in how weights are drawn.
Source: Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13.
"""

from __future__ import annotations

import numpy as np


def row_weights(n: int, replicates: int, seed: int) -> np.ndarray:
    """Draw n rows of n with replacement: float32 [replicates, n], each row summing to n."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=replicates).astype(np.float32)


def cluster_weights(clusters: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Draw whole clusters with replacement.

    Args:
        clusters: [N], which cluster each row belongs to.

    Returns:
        float32 [replicates, N]; rows of one cluster have the same weight.
    """
    _, cluster = np.unique(clusters, return_inverse=True)
    return row_weights(int(cluster.max()) + 1, replicates, seed)[:, cluster]


def stratum_weights(strata: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Draw rows with replacement within each stratum of `strata` [N]: [replicates, N]."""
    weights = np.empty((replicates, len(strata)), dtype=np.float32)
    for i, stratum in enumerate(np.unique(strata)):
        rows = np.flatnonzero(strata == stratum)
        # A separate stream for each stratum, or all would have the same draws.
        weights[:, rows] = row_weights(len(rows), replicates, seed * 1000 + i)
    return weights


def interval(replicates: np.ndarray) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of a figure's replicates [B]; NaN is left out (a draw may
    miss every row of a class)."""
    low, high = np.nanpercentile(replicates, (2.5, 97.5))
    return float(low), float(high)
