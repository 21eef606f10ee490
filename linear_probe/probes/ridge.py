"""Ridge regression on standardised frozen features: the regression probe.

The objective is mean squared error + l2 times the squared weights, bias free (scikit-learn's
`alpha` is N l2). One eigendecomposition gives the weights of every L2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from linear_probe.probes.standardise import Standardiser

L2_GRID = tuple(float(f"{10 ** (-k / 2):.3g}") for k in range(-6, 13))
"""L2 values tried, largest first: 1e3 to 1e-6 in half decades."""


@dataclass(frozen=True)
class RidgePredictor:
    """A fitted probe: `predictor(features [N, D])` gives float64 [N, T].

    Attributes:
        standardise: mean and scale of the training features.
        weight: [D, T] on standardised features.
        bias: [T], the mean of the training targets.
        l2: the value chosen.
        at_grid_edge: it is the first or last of the grid.
        validation_error: of every L2 tried: absolute error, mean over rows and targets.
    """

    standardise: Standardiser
    weight: Tensor
    bias: Tensor
    l2: float
    at_grid_edge: bool = False
    validation_error: dict[float, float] = field(default_factory=dict)

    def __call__(self, features: Tensor) -> Tensor:
        return self.standardise(features.to(self.weight)) @ self.weight + self.bias


class RidgeProbe:
    """Fits `RidgePredictor`s, choosing L2 on validation rows of the training part.

    Args:
        grid: L2 values, largest first.
        device: where to compute.
    """

    def __init__(self, grid: tuple[float, ...] = L2_GRID, device: str = "cpu") -> None:
        self.grid = grid
        self.device = device

    def fit(self, features: Tensor, targets: Tensor, validation: np.ndarray) -> RidgePredictor:
        """Choose L2 on the rows `validation` of the training part, then fit on all its rows.

        The value with the lowest mean absolute error is taken, of equals the largest.

        Args:
            features: float [N, D], training rows only.
            targets: float [N, T].
            validation: bool [N].
        """
        # Squared features in float32 lose the small eigenvalues.
        features = features.to(self.device, torch.float64)
        targets = targets.to(self.device, torch.float64)
        held_out = torch.from_numpy(validation).to(self.device)
        standardise = Standardiser.of(features[~held_out])
        mean = targets[~held_out].mean(dim=0)
        path = ridge_path(standardise(features[~held_out]), targets[~held_out] - mean, self.grid)
        scored = standardise(features[held_out])
        errors = {
            l2: float((scored @ weight + mean - targets[held_out]).abs().mean())
            for l2, weight in zip(self.grid, path, strict=True)
        }
        chosen = min(self.grid, key=lambda l2: (errors[l2], -l2))
        standardise = Standardiser.of(features)
        mean = targets.mean(dim=0)
        (weight,) = ridge_path(standardise(features), targets - mean, [chosen])
        return RidgePredictor(
            standardise, weight, mean, chosen, chosen in (self.grid[0], self.grid[-1]), errors
        )


def ridge_path(features: Tensor, targets: Tensor, grid: Sequence[float]) -> list[Tensor]:
    """Ridge weights [D, T] for every L2 of `grid`.

    Args:
        features: float [N, D], each column of mean 0.
        targets: float [N, T], each column of mean 0.
    """
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
