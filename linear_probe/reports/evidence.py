"""The predictions behind a table's figures, checked; their ROC curves and worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from linear_probe.records.collect import Found
from linear_probe.records.predictions import Predictions
from linear_probe.records.record import Record
from linear_probe.reports.tables import Row, TaskFigures
from ssl_faces import InputError

_ROC_POINTS = 200


@dataclass(frozen=True)
class Evidence:
    """The predictions behind one figure of a table's row."""

    row: Row
    found: Found
    predictions: Predictions

    @property
    def record(self) -> Record:
        return self.found.record

    @property
    def name(self) -> str:
        """The row, with its seed if there are several."""
        seed = f", seed {self.record.seed}" if len(self.row.seeds) > 1 else ""
        return self.row.name + seed


class Mistake(NamedTuple):
    """A test row that the probe predicted wrongly.

    Attributes:
        keys: of its image, or of both images of a pair.
        confidence: the probability or similarity that decided; for values, the error.
    """

    keys: list[str]
    target: str
    predicted: str
    confidence: float


def gather(table: TaskFigures, found: Sequence[Found]) -> tuple[list[Evidence], list[str]]:
    """The predictions of a table's figures, and why others can't be used.

    With several seeds those of the first seed that has some; predictions that several metrics
    share come once.
    """
    by_key = {one.record.key: one for one in found}
    evidence: list[Evidence] = []
    problems: list[str] = []
    for row in table.rows:
        seen: set[bytes] = set()
        for cell in row.cells.values():
            for record in cell.records:
                stored = by_key[record.key]
                try:
                    predictions = stored.predictions()
                except InputError as error:
                    problems.append(f"{row.name}, {record.metric}: predictions left out: {error}")
                    continue
                if predictions is None:
                    continue
                content = predictions.targets.tobytes() + predictions.predicted.tobytes()
                if content not in seen:
                    evidence.append(Evidence(row, stored, predictions))
                seen.add(content)
                break
    return evidence, problems


def roc(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, float] | None:
    """False and true accept rates (0 to 1) of pairs over thresholds, and the area under them.

    At most 200 points. None if the pairs are all of one kind or have no similarity.
    """
    same = np.asarray(predictions.targets)
    if predictions.scores.shape[1] != 1 or len(np.unique(same)) < 2:
        return None
    similarity = predictions.scores[:, 0]
    false, true, _ = roc_curve(same, similarity)
    area = float(roc_auc_score(same, similarity))
    if len(false) > _ROC_POINTS:
        # Evenly spaced along the curve, so that steep and flat parts keep their shape.
        along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(false), np.diff(true)))])
        rows = np.searchsorted(along, np.linspace(0, along[-1], _ROC_POINTS - 2))
        rows = np.unique(np.concatenate([[0], rows, [len(false) - 1]]).clip(0, len(false) - 1))
        false, true = false[rows], true[rows]
    return false, true, area


def mistakes(predictions: Predictions, most: int = 12) -> list[Mistake]:
    """The most confident mistakes, in that order.

    For values the largest errors. For pairs, half are the most similar pairs of different people,
    then half the least similar pairs of one person.
    """
    targets, predicted = predictions.targets, predictions.predicted
    if predictions.kind == "regression":
        confidence = np.abs(targets - predicted)
        rows = _first(np.arange(len(targets)), -confidence, most)
        names = [(f"{targets[i]:.1f}", f"{predicted[i]:.1f}") for i in rows]
    else:
        confidence = _confidence(predictions)
        wrong = targets != predicted
        if predictions.kind == "verification":
            accepted = _first(np.flatnonzero(wrong & (predicted == 1)), -confidence, most // 2)
            rejected = _first(np.flatnonzero(wrong & (predicted == 0)), confidence, most // 2)
            rows = np.concatenate([accepted, rejected])
        else:
            rows = _first(np.flatnonzero(wrong), -confidence, most)
        classes = predictions.classes
        names = [(classes[targets[i]], classes[predicted[i]]) for i in rows]
    return [
        Mistake(predictions.keys[i].split("\t"), *of_row, float(confidence[i]))
        for i, of_row in zip(rows, names, strict=True)
    ]


def _first(rows: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """The rows with the lowest values."""
    return rows[np.argsort(values[rows], kind="stable")[:most]]


def _confidence(predictions: Predictions) -> np.ndarray:
    """The score that decided each row; 0 if no scores were kept."""
    if predictions.scores.shape[1] == 0:
        return np.zeros(len(predictions.keys))
    if predictions.kind == "verification":
        return np.asarray(predictions.scores[:, 0])
    return np.asarray(predictions.scores[np.arange(len(predictions.keys)), predictions.predicted])
