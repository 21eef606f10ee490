"""Multinomial logistic regression on standardised frozen features: the classification probe.

The objective is scikit-learn's: mean cross-entropy + l2/2 times the squared weights, bias free
(its `C` is 1 / (N l2)). L-BFGS runs on preconditioned weights: conv maps and pixels are so
correlated that on plain weights it takes hundreds of steps, and stops short of the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from linear_probe.probes.standardise import Standardiser

L2_GRID = tuple(float(f"{10 ** (-k / 2):.3g}") for k in range(-2, 11))
"""L2 values tried, largest first: 10 to 1e-5 in half decades."""

MOST_PRECONDITIONED = 4096
"""Above this many features their eigenvectors cost more than they save."""


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
        grid: L2 values, largest first.
        most_steps: of L-BFGS for each value.
        tolerance: L-BFGS stops when no preconditioned gradient is above it.
        device: where to compute.
    """

    def __init__(
        self,
        grid: tuple[float, ...] = L2_GRID,
        most_steps: int = 200,
        tolerance: float = 1e-4,
        device: str = "cpu",
    ) -> None:
        self.grid = grid
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
        features, targets = features.to(self.device), targets.to(self.device)
        held_out = torch.from_numpy(validation).to(self.device)
        classes = int(targets.max()) + 1
        fitted, chosen_on = features[~held_out], targets[held_out]
        standardise = Standardiser.of(fitted)
        fitted = standardise(fitted)
        scored = standardise(features[held_out])
        basis = _Basis.of(fitted)
        weight, bias = fitted.new_zeros(fitted.shape[1], classes), fitted.new_zeros(classes)
        accuracies: dict[float, float] = {}
        best = (weight, bias)
        for l2 in self.grid:
            weight, bias = self._solve(fitted, targets[~held_out], l2, basis, weight, bias)
            hits = (scored @ weight + bias).argmax(dim=1) == chosen_on
            accuracies[l2] = float(hits.double().mean())
            if accuracies[l2] > max((a for k, a in accuracies.items() if k != l2), default=-1.0):
                best = (weight, bias)
        chosen = max(self.grid, key=lambda l2: (accuracies[l2], l2))
        del fitted, scored
        standardise = Standardiser.of(features)
        weight, bias = self._solve(standardise(features), targets, chosen, basis, *best)
        return LogisticPredictor(
            standardise,
            weight,
            bias,
            chosen,
            chosen in (self.grid[0], self.grid[-1]),
            accuracies,
        )

    def solve(self, features: Tensor, targets: Tensor, l2: float) -> tuple[Tensor, Tensor]:
        """Weight [D, K] and bias [K] of the optimum on features as they are, for one L2."""
        classes = int(targets.max()) + 1
        start = features.new_zeros(features.shape[1], classes), features.new_zeros(classes)
        return self._solve(features, targets, l2, _Basis.of(features), *start)

    @torch.no_grad()
    def _solve(
        self, x: Tensor, targets: Tensor, l2: float, basis: _Basis, weight: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        classes = len(bias)
        # Cross-entropy's curvature where all classes are equally likely.
        curvature = (1 - 1 / classes) / classes if classes > 1 else 0.25
        scale = (curvature * basis.variances + l2).rsqrt()[:, None]
        bias_scale = curvature**-0.5
        rows = torch.arange(len(x), device=x.device)
        v = torch.cat([basis.into(weight) / scale, bias[None] / bias_scale])
        v.requires_grad_(True)

        def unpack() -> tuple[Tensor, Tensor]:
            return basis.out_of(v[:-1] * scale), v[-1] * bias_scale

        def objective() -> Tensor:
            w, b = unpack()
            log_likely = torch.log_softmax(x @ w + b, dim=1)
            # In double: L-BFGS compares losses that differ in the seventh digit.
            loss = -log_likely[rows, targets].double().mean() + l2 / 2 * w.double().square().sum()
            residual = log_likely.exp_()
            residual[rows, targets] -= 1
            residual /= len(x)
            v.grad = torch.cat(
                [
                    basis.into(x.T @ residual + l2 * w) * scale,
                    residual.sum(dim=0, keepdim=True) * bias_scale,
                ]
            )
            return loss

        optimiser = torch.optim.LBFGS(
            [v],
            max_iter=self.most_steps,
            tolerance_grad=self.tolerance,
            tolerance_change=self.tolerance / 100,
            history_size=10,
            line_search_fn="strong_wolfe",
        )
        optimiser.step(objective)
        weight, bias = unpack()
        return weight.detach(), bias.detach()


class _Basis:
    """The directions in which features vary, and how much: a basis for weights."""

    def __init__(self, variances: Tensor, vectors: Tensor | None) -> None:
        self.variances = variances
        self.vectors = vectors

    @classmethod
    def of(cls, features: Tensor) -> _Basis:
        """Eigenvectors of the covariance of centred features [N, D]; the axes where D is large."""
        if features.shape[1] > MOST_PRECONDITIONED:
            return cls(features.square().mean(dim=0), None)
        variances, vectors = torch.linalg.eigh(features.T @ features / len(features))
        return cls(variances.clamp_(min=0), vectors)

    def into(self, weight: Tensor) -> Tensor:
        return weight if self.vectors is None else self.vectors.T @ weight

    def out_of(self, weight: Tensor) -> Tensor:
        return weight if self.vectors is None else self.vectors @ weight
