"""Multinomial logistic regression on standardised frozen features: the classification probe.

The objective is scikit-learn's: mean cross-entropy + l2/2 times the squared weights, bias free
(its `C` is 1 / (N l2)). All L2 values and splits are solved together, by `solve_together`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_probe.probes.linear import LinearPredictor, Standardiser
from linear_probe.probes.logistic_solver import Design, solve_together

L2_GRID = tuple(float(f"{10 ** (-k / 2):.3g}") for k in range(-2, 11))
"""L2 values tried, largest first: 10 to 1e-5 in half decades."""


def fit_logistic(
    features: Tensor, targets: Tensor, validation: np.ndarray, **more: Any
) -> LinearPredictor:
    """Choose L2 on the rows `validation` of the training part, then fit on all its rows.

    The value with the highest validation accuracy is chosen, of equals the largest.

    Args:
        features: float [N, D], training rows only.
        targets: int64 [N], classes from 0.
        validation: bool [N].
        more: arguments of `fit_splits`.
    """
    return fit_splits(features, targets, validation[None], **more)[0]


def fit_splits(
    features: Tensor,
    targets: Tensor,
    validations: np.ndarray,
    *,
    device: str = "cpu",
    l2_grid: Sequence[float] = L2_GRID,
    **solver: Any,
) -> list[LinearPredictor]:
    """`fit_logistic` for each of several validation splits, bool [S, N], as one problem.

    Features are standardised once, by the whole training part.

    Args:
        solver: arguments of `solve_together`.
    """
    features, targets = features.to(device), targets.to(device)
    standardise = Standardiser.of(features)
    x = standardise(features)
    design = Design(x)
    held_out = torch.from_numpy(validations).to(device)
    splits, grid = len(held_out), len(l2_grid)

    l2 = torch.tensor(l2_grid, dtype=x.dtype, device=x.device).repeat(splits)
    fitted = (~held_out).repeat_interleave(grid, dim=0)
    weights, biases = solve_together(design, targets, l2, fitted, **solver)
    tried, chosen = [], []
    for split, rows in enumerate(held_out):
        here = slice(split * grid, (split + 1) * grid)
        logits = torch.einsum("nd,pdk->pnk", x[rows], weights[here]) + biases[here, None]
        hits = (logits.argmax(dim=2) == targets[rows]).double().mean(dim=1)
        accuracies = dict(zip(l2_grid, hits.tolist(), strict=True))
        tried.append(accuracies)
        chosen.append(max(l2_grid, key=lambda k, of=accuracies: (of[k], k)))  # type: ignore[misc]
    # The fit on all rows starts where the search for the chosen value ended.
    at = [split * grid + l2_grid.index(value) for split, value in enumerate(chosen)]
    start = (weights[at], biases[at])
    weights, biases = solve_together(design, targets, l2[at], None, start=start, **solver)
    return [
        LinearPredictor(standardise, *fitted)
        for fitted in zip(weights, biases, chosen, tried, strict=True)
    ]


def solve(features: Tensor, targets: Tensor, l2: float, **solver: Any) -> tuple[Tensor, Tensor]:
    """Weight [D, K] and bias [K] of the optimum on features as they are, for one L2."""
    grid = features.new_tensor([l2])
    weights, biases = solve_together(Design(features), targets, grid, None, **solver)
    return weights[0], biases[0]
