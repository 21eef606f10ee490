"""Valence and arousal by ridge regression: how pleasant and how aroused a face looks, -1 to 1.

Source of the metrics: Mollahosseini, Hasani and Mahoor, "AffectNet", IEEE Transactions on Affective
Computing, 2019; Lin, "A Concordance Correlation Coefficient to Evaluate Reproducibility",
Biometrics 45(1), 1989.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from linear_probe.tasks.regression import Metric, Regression

AFFECT = ("valence", "arousal")


class Affect(Regression):
    """Concordance correlation and root mean squared error of valence and of arousal."""

    name = "affect"
    order = 5
    required_labels = AFFECT
    names = AFFECT
    main = "CCC"
    baseline_side = 48
    validation_share = 0.1

    def _target(self, labels: Mapping[str, Any]) -> np.ndarray:
        return np.array([labels[name] for name in AFFECT])

    def _prepare(self) -> None:
        super()._prepare()
        self._draw(np.zeros(len(self.faces), dtype=np.int64))
        self.protocol = (
            "valence and arousal, -1 to 1; ridge regression on frozen features, standardised; L2 "
            f"chosen by mean absolute error on {self.validation_share:.0%} of the training part, "
            "then fitted on all of it"
        )

    def _check(self, train: np.ndarray, test: np.ndarray) -> None:
        super()._check(train, test)
        # The concordance with a constant is 0, or undefined.
        self._check_varied(test, "test")

    def _metrics(
        self, targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray
    ) -> list[Metric]:
        metrics = []
        for i, name in enumerate(AFFECT):
            agreement = concordance(targets[:, i], predicted[:, i], weights)
            squared = (predicted[:, i] - targets[:, i]).astype(np.float64) ** 2
            error = np.sqrt(weights @ squared / weights.sum(axis=1))
            metrics.append(Metric(f"CCC {name}", "", True, agreement))
            metrics.append(Metric(f"RMSE {name}", "", False, error))
        return metrics


def concordance(targets: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lin's concordance correlation 2 cov / (var + var + (difference of means)^2), float64 [B], of
    targets and predictions [M]; variances and covariance are over n - 1, as in torchmetrics.
    `weights`: [B, M], how often each row counts; NaN where only one row counts."""
    n = weights.sum(axis=1, dtype=np.float64)
    # Around the mean of all, or squares would cancel.
    x = targets.astype(np.float64) - targets.mean(dtype=np.float64)
    y = predicted.astype(np.float64) - targets.mean(dtype=np.float64)
    w = weights.astype(np.float64)
    mean_x, mean_y = w @ x / n, w @ y / n
    with np.errstate(invalid="ignore", divide="ignore"):
        more = n / (n - 1)
        var_x = (w @ (x * x) / n - mean_x**2) * more
        var_y = (w @ (y * y) / n - mean_y**2) * more
        covariance = (w @ (x * y) / n - mean_x * mean_y) * more
        return 2 * covariance / (var_x + var_y + (mean_x - mean_y) ** 2)
