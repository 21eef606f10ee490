"""A 2-D map of frozen features: PCA, then t-SNE, of a sample of the test rows."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from linear_probe.records.predictions import Predictions

MOST_ROWS = 2000
FEWEST_ROWS = 20
COMPONENTS = 50
BINS = 4
"""Equally large parts of the values, each with a colour."""


def sampled(predictions: Predictions) -> np.ndarray:
    """int [M]: the rows that are mapped, in order; equal for every encoder on the same rows."""
    n = len(predictions.keys)
    if n <= MOST_ROWS:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:MOST_ROWS])


def feature_map(features: np.ndarray) -> np.ndarray:
    """Positions [M, 2] of features [M, D] by t-SNE of their first 50 principal components.

    Features are standardised first, as probes see them. The same features give the same map.
    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 9, 2008.

    Raises:
        ValueError: too few rows, or features that are constant or not finite.
    """
    if len(features) < FEWEST_ROWS:
        raise ValueError(f"{len(features)} rows are too few for a map")
    if not np.isfinite(features).all():
        raise ValueError("features with NaN or infinite values have no map")
    spread = features.std(axis=0)
    varied = spread > 1e-6 * max(float(spread.max()), 1e-12)
    if not spread.max() > 0:
        raise ValueError("constant features have no map")
    standard = ((features - features.mean(axis=0))[:, varied] / spread[varied]).astype(np.float64)
    components = min(COMPONENTS, *standard.shape)
    reduced = PCA(components, random_state=0).fit_transform(standard)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        places: np.ndarray = TSNE(
            init="pca",
            perplexity=min(30, (len(reduced) - 1) / 3),
            max_iter=500,
            random_state=0,
        ).fit_transform(reduced)
    return places


def coloured(predictions: Predictions, rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The number of each row's colour, int [M], and the colours' names: classes or ranges."""
    targets = predictions.targets[rows]
    if predictions.kind == "classification":
        return targets, list(predictions.classes)
    edges = np.quantile(targets, np.linspace(0, 1, BINS + 1))
    names = [f"{a:.0f} to {b:.0f}" for a, b in pairwise(edges)]
    return np.searchsorted(edges[1:-1], targets, side="right"), names
