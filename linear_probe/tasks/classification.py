"""Figures that classification tasks share."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, recall_score

from linear_probe.probes.logistic import LogisticPredictor
from linear_probe.tasks.task import Figure, percentage


def class_figures(
    predictor: LogisticPredictor,
    targets: np.ndarray,
    predicted: np.ndarray,
    weights: np.ndarray,
    sample: str,
    note: str,
    of: str = "",
) -> list[Figure]:
    """Accuracy, and the mean of the recalls of those classes that the test part has.

    Args:
        predictor: the probe that predicted.
        targets: int [N].
        predicted: int [N].
        weights: [B, N], the bootstrap's draws.
        sample: as in `Record`.
        note: as in `Record`.
        of: what is classified, where a task has several such figures.
    """
    correct = (predicted == targets).astype(np.float32)
    present = np.unique(targets)
    is_class = (targets[:, None] == present).astype(np.float32)
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # A draw may miss every picture of a class; its recall is then left out of the mean.
        warnings.simplefilter("ignore", RuntimeWarning)
        recalls = weights @ (is_class * correct[:, None]) / (weights @ is_class)
        mean_recalls = np.nanmean(recalls, axis=1)
    mean_recall = recall_score(targets, predicted, labels=present, average="macro", zero_division=0)
    return [
        percentage(
            *(f"{of} {metric}".strip(), value, replicates, len(targets), sample),
            **how_chosen(predictor),
            note=note,
        )
        for metric, value, replicates in (
            ("accuracy", accuracy_score(targets, predicted), weights @ correct / len(targets)),
            ("mean class recall", mean_recall, mean_recalls),
        )
    ]


def how_chosen(predictor: LogisticPredictor) -> dict[str, Any]:
    """Fields of a figure that say which L2 was chosen, and by what."""
    on_validation = 100 * predictor.validation_accuracy[predictor.l2]
    return {
        "hyperparameters": {
            "l2": predictor.l2,
            "validation": {"accuracy": round(on_validation, 4)},
        },
        "at_grid_edge": predictor.at_grid_edge,
    }
