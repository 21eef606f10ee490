"""Ridge regression on standardised frozen features: the regression probe.

The objective is mean squared error + l2 times the squared weights, bias free (scikit-learn's
`alpha` is N l2). One eigendecomposition gives the weights of every L2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from linear_probe.probes.linear import LinearPredictor, Standardiser

L2_GRID = tuple(float(f"{10 ** (-k / 2):.3g}") for k in range(-6, 13))
"""L2 values tried, largest first: 1e3 to 1e-6 in half decades."""


def fit_ridge(
    features: Tensor,
    targets: Tensor,
    validation: np.ndarray,
    *,
    device: str = "cpu",
    l2_grid: Sequence[float] = L2_GRID,
) -> LinearPredictor:
    """Choose L2 on the rows `validation` of the training part, then fit on all its rows.

    The value with the lowest mean absolute error is chosen, of equals the largest. The predictor
    computes in float64.

    Args:
        features: float [N, D], training rows only.
        targets: float [N, T].
        validation: bool [N].
    """
    # Squared features in float32 lose the small eigenvalues.
    features, targets = (x.to(device, torch.float64) for x in (features, targets))
    held_out = torch.from_numpy(validation).to(device)
    standardise, mean, path = _path(features[~held_out], targets[~held_out], l2_grid)
    scored = standardise(features[held_out])
    errors = {
        l2: float((scored @ weight + mean - targets[held_out]).abs().mean())
        for l2, weight in zip(l2_grid, path, strict=True)
    }
    chosen = min(l2_grid, key=lambda l2: (errors[l2], -l2))
    standardise, mean, (weight,) = _path(features, targets, [chosen])
    return LinearPredictor(standardise, weight, mean, chosen, errors)


def _path(
    features: Tensor, targets: Tensor, grid: Sequence[float]
) -> tuple[Standardiser, Tensor, list[Tensor]]:
    standardise, mean = Standardiser.of(features), targets.mean(dim=0)
    return standardise, mean, ridge_path(standardise(features), targets - mean, grid)


def ridge_path(features: Tensor, targets: Tensor, grid: Sequence[float]) -> list[Tensor]:
    """Ridge weights [D, T] for every L2 of `grid`, of features [N, D] and targets [N, T] of mean
    0."""
    n, d = features.shape
    if n >= d:
        values, vectors = torch.linalg.eigh(features.T @ features / n)
        projected = vectors.T @ (features.T @ targets / n)
        back = vectors
    else:
        # Fewer rows than features: the same weights from the smaller N x N products.
        values, vectors = torch.linalg.eigh(features @ features.T / n)
        projected = vectors.T @ targets / n
        back = features.T @ vectors
    values = values.clamp(min=0)[:, None]
    return [back @ (projected / (values + l2)) for l2 in grid]
