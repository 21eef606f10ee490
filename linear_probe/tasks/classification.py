"""What classification tasks share: figures, predictions, and targets that can't be learnt."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.metrics import accuracy_score, recall_score
from torch import Tensor

from linear_probe.predictions import Predictions
from linear_probe.probes.logistic import LogisticPredictor
from linear_probe.tasks.task import Figure, percentage
from ssl_faces import InputError


def class_predictions(
    keys: Sequence[str],
    targets: np.ndarray,
    logits: Tensor,
    classes: Sequence[str],
    groups: dict[str, list[str]] | None = None,
) -> Predictions:
    """What a classifier said of N test rows, from its logits [N, K].

    Args:
        keys: of the pictures, N.
        targets: int [N].
        classes: names of all classes, by number; the probe may know of fewer.
        groups: as in `Predictions`.
    """
    scores = torch.softmax(logits.double(), dim=1).cpu().numpy()
    # Classes that no training picture has come after those known: never predicted.
    scores = np.pad(scores, ((0, 0), (0, len(classes) - scores.shape[1])))
    predicted = logits.argmax(dim=1).cpu().numpy()
    return Predictions(
        *("classification", list(keys), targets, predicted, scores.astype(np.float32)),
        classes=list(classes),
        groups=groups or {},
    )


def untaught_note(
    task: str, known: np.ndarray, targets: np.ndarray, classes: Sequence[str], of: str = "class"
) -> str:
    """What readers must know of classes that can't be told: a note, mostly empty.

    Args:
        task: for the message.
        known: int [N], targets of the training part.
        targets: int [M], of the test part.
        classes: names by number.
        of: what is classified.

    Raises:
        InputError: the training part has one class only.
    """
    taught = np.unique(known)
    if len(taught) < 2:
        raise InputError(
            f"{task}: all {len(known):,} training pictures have the {of} "
            f"'{classes[int(taught[0])]}', which leaves nothing to tell apart; give pictures of at "
            "least two"
        )
    untaught = np.setdiff1d(targets, taught)
    if not len(untaught):
        return ""
    count = int(np.isin(targets, untaught).sum())
    names = ", ".join(classes[int(i)] for i in untaught)
    return f"no training picture of {names}: wrong of all {count:,} test pictures that are"


def class_figures(
    predictor: LogisticPredictor | None,
    targets: np.ndarray,
    predicted: np.ndarray,
    weights: np.ndarray,
    sample: str,
    note: str,
    of: str = "",
    predictions: Predictions | None = None,
) -> list[Figure]:
    """Accuracy, and the mean of the recalls of those classes that the test part has.

    Args:
        predictor: the probe that predicted, if it chose an L2.
        targets: int [N].
        predicted: int [N].
        weights: [B, N], the bootstrap's draws.
        sample: as in `Record`.
        note: as in `Record`.
        of: what is classified, where a task has several such figures.
        predictions: what the probe said of each test row, kept with the accuracy.
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
            **({} if predictor is None else how_chosen(predictor)),
            note=note,
            predictions=kept,
        )
        for metric, value, replicates, kept in (
            (
                "accuracy",
                accuracy_score(targets, predicted),
                weights @ correct / len(targets),
                predictions,
            ),
            ("mean class recall", mean_recall, mean_recalls, None),
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
