"""Linear predictors of standardised frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor


class Standardiser(NamedTuple):
    """Mean and scale of each feature, [D] each."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardiser:
        """The statistics of features [N, D]; a constant feature is only centred."""
        mean = features.mean(dim=0)
        scale = features.std(dim=0, correction=0)
        # What is left of a constant after rounding is no signal.
        constant = scale <= 1e-6 * mean.abs().clamp(min=1e-6)
        return cls(mean, scale.masked_fill(constant, 1.0))

    def __call__(self, features: Tensor) -> Tensor:
        """A standardised copy of features [N, D]."""
        return (features - self.mean).div_(self.scale)


@dataclass(frozen=True)
class LinearPredictor:
    """A fitted probe: `predictor(features [N, D])` gives logits or values [N, K].

    Attributes:
        standardise: by the training features.
        weight: [D, K] on standardised features.
        bias: [K].
        l2: the value chosen.
        validation: for each L2 of the grid, the accuracy (0 to 1) of a classifier or the mean
            absolute error of values, on validation rows.
    """

    standardise: Standardiser
    weight: Tensor
    bias: Tensor
    l2: float
    validation: dict[float, float]

    def __call__(self, features: Tensor) -> Tensor:
        return self.standardise(features.to(self.weight)) @ self.weight + self.bias

    @property
    def at_grid_edge(self) -> bool:
        """Whether the chosen L2 is the smallest or largest of the grid."""
        return self.l2 in (min(self.validation), max(self.validation))


def how_chosen(
    predictors: Sequence[LinearPredictor], metric: str = "accuracy", unit: float = 100
) -> dict[str, Any]:
    """Fields of a figure: the L2 chosen and its validation figure; of all folds, if several.

    Args:
        metric: of `LinearPredictor.validation`.
        unit: factor on it.
    """
    values = [p.l2 for p in predictors]
    on_validation = [unit * p.validation[p.l2] for p in predictors]
    return {
        "hyperparameters": {
            "l2": values[0] if len(values) == 1 else values,
            "validation": {metric: round(float(np.mean(on_validation)), 4)},
        },
        "at_grid_edge": any(p.at_grid_edge for p in predictors),
    }
