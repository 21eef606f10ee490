"""Multinomial logistic regression on standardised frozen features: the classification probe.

The objective is scikit-learn's: mean cross-entropy + l2/2 times the squared weights, bias free
(its `C` is 1 / (N l2)). All L2 values and splits are solved together, by `solve_together`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from linear_probe.probes.logistic_solver import Design, solve_together
from linear_probe.probes.standardise import Standardiser

L2_GRID = tuple(float(f"{10 ** (-k / 2):.3g}") for k in range(-2, 11))
"""L2 values tried, largest first: 10 to 1e-5 in half decades."""


@dataclass(frozen=True)
class LogisticPredictor:
    """A fitted probe: `predictor(features [N, D])` gives logits [N, K].

    Attributes:
        standardise: mean and scale of the training features.
        weight: [D, K] on standardised features.
        bias: [K].
        l2: the value chosen.
        at_grid_edge: it is the first or last of the grid.
        validation_accuracy: of every L2 tried, 0 to 1.
    """

    standardise: Standardiser
    weight: Tensor
    bias: Tensor
    l2: float
    at_grid_edge: bool = False
    validation_accuracy: dict[float, float] = field(default_factory=dict)

    def __call__(self, features: Tensor) -> Tensor:
        return self.standardise(features.to(self.weight)) @ self.weight + self.bias


class LogisticProbe:
    """Fits `LogisticPredictor`s, choosing L2 on validation rows of the training part.

    Args:
        grid: L2 values.
        most_steps: of the solver.
        tolerance: the solver stops where no preconditioned gradient is above it.
        device: where to compute.
    """

    def __init__(
        self,
        grid: Sequence[float] = L2_GRID,
        most_steps: int = 200,
        tolerance: float = 1e-4,
        device: str = "cpu",
    ) -> None:
        self.grid = tuple(grid)
        self.most_steps = most_steps
        self.tolerance = tolerance
        self.device = device

    def fit(self, features: Tensor, targets: Tensor, validation: np.ndarray) -> LogisticPredictor:
        """Choose L2 on the rows `validation` of the training part, then fit on all its rows.

        The value with the highest validation accuracy is taken, of equals the largest.

        Args:
            features: float [N, D], training rows only.
            targets: int64 [N], classes from 0.
            validation: bool [N].
        """
        return self.fit_splits(features, targets, validation[None])[0]

    def fit_splits(
        self, features: Tensor, targets: Tensor, validations: np.ndarray
    ) -> list[LogisticPredictor]:
        """`fit` for each of several validation splits, bool [S, N], as one problem.

        Features are standardised once, by the whole training part.
        """
        features, targets = features.to(self.device), targets.to(self.device)
        standardise = Standardiser.of(features)
        x = standardise(features)
        design = Design(x)
        held_out = torch.from_numpy(validations).to(self.device)
        splits, grid = len(held_out), len(self.grid)

        l2 = torch.tensor(self.grid, dtype=x.dtype, device=x.device).repeat(splits)
        fitted = (~held_out).repeat_interleave(grid, dim=0)
        weights, biases = self._solve(design, targets, l2, fitted)
        accuracies = torch.empty(splits, grid, dtype=torch.float64)
        for split, rows in enumerate(held_out):
            here = slice(split * grid, (split + 1) * grid)
            logits = torch.einsum("nd,pdk->pnk", x[rows], weights[here]) + biases[here, None]
            hits = logits.argmax(dim=2) == targets[rows]
            accuracies[split] = hits.double().mean(dim=1).cpu()

        of_split = [dict(zip(self.grid, row.tolist(), strict=True)) for row in accuracies]
        chosen = [max(self.grid, key=lambda k, row=row: (row[k], k)) for row in of_split]  # type: ignore[misc]
        # Where the search for the chosen value ended, the fit on all rows starts.
        at = [split * grid + self.grid.index(value) for split, value in enumerate(chosen)]
        weights, biases = self._solve(
            design, targets, l2[at], None, start=(weights[at], biases[at])
        )
        edges = (min(self.grid), max(self.grid))
        return [
            LogisticPredictor(standardise, weight, bias, value, value in edges, accuracy)
            for weight, bias, value, accuracy in zip(weights, biases, chosen, of_split, strict=True)
        ]

    def solve(self, features: Tensor, targets: Tensor, l2: float) -> tuple[Tensor, Tensor]:
        """Weight [D, K] and bias [K] of the optimum on features as they are, for one L2."""
        weights, biases = self._solve(Design(features), targets, features.new_tensor([l2]), None)
        return weights[0], biases[0]

    def _solve(
        self,
        design: Design,
        targets: Tensor,
        l2: Tensor,
        rows: Tensor | None,
        start: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        return solve_together(
            design,
            targets,
            l2,
            rows,
            most_steps=self.most_steps,
            tolerance=self.tolerance,
            start=start,
        )
