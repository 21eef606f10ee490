"""What predictions say beyond the figures: recalls, confusions, groups, ROC curves, mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_auc_score, roc_curve

from linear_probe.records.predictions import Predictions, predictions_path, read_predictions
from linear_probe.records.record import Record
from linear_probe.reports.command import Found
from linear_probe.reports.tables import Row, Table
from ssl_faces import InputError

FEWEST = 30
"""Rows that a group must have to be ranked."""

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
        """The row, with its seed where there are several."""
        seed = f", seed {self.record.seed}" if len(self.row.seeds) > 1 else ""
        return self.row.name + seed


class Group(NamedTuple):
    """The score of one group's rows: accuracy in percent, or the mean absolute error."""

    name: str
    value: float
    low: float
    high: float
    n: int

    @property
    def few(self) -> bool:
        return self.n < FEWEST


class Mistake(NamedTuple):
    """A test row that the probe got wrong.

    Attributes:
        keys: of its picture, or of both of a pair.
        confidence: the probability or similarity it was decided by; of values, the error.
    """

    keys: list[str]
    target: str
    predicted: str
    confidence: float


def gather(table: Table, found: Sequence[Found]) -> tuple[list[Evidence], list[str]]:
    """The predictions of a table's figures, and what to say of those that can't be used.

    Of several seeds the first that has predictions; what several metrics share comes once.
    """
    by_key = {one.record.key: one for one in found}
    evidence: list[Evidence] = []
    said: list[str] = []
    for row in table.rows:
        seen: set[bytes] = set()
        for cell in row.cells.values():
            for record in cell.records:
                one = by_key[record.key]
                try:
                    predictions = _read(one)
                except InputError as error:
                    said.append(f"{row.name}, {record.metric}: predictions left out: {error}")
                    continue
                if predictions is None:
                    continue
                content = predictions.targets.tobytes() + predictions.predicted.tobytes()
                if content not in seen:
                    evidence.append(Evidence(row, one, predictions))
                seen.add(content)
                break
    return evidence, said


def _read(one: Found) -> Predictions | None:
    """The predictions of a record, where they are of its rows.

    Raises:
        InputError: they can't be read, or aren't.
    """
    path = predictions_path(one.folder, one.stored)
    predictions = read_predictions(path)
    if predictions is None:
        return None
    of, wanted = len(predictions.keys), one.stored.n
    if of != wanted:
        raise InputError(
            f"{path}: holds {of:,} rows, and the record is of {wanted:,}; "
            "run `linear-probe run` again"
        )
    wrong = _wrong(predictions)
    if wrong:
        raise InputError(f"{path}: {wrong}; delete it and run `linear-probe run` again")
    return predictions


def _wrong(predictions: Predictions) -> str:
    """What makes predictions unusable, or nothing."""
    targets, predicted, scores = (
        np.asarray(a) for a in (predictions.targets, predictions.predicted, predictions.scores)
    )
    if targets.ndim != 1 or predicted.ndim != 1 or scores.ndim != 2:
        return "its arrays have wrong shapes"
    if not all(np.isfinite(a).all() for a in (targets, predicted, scores)):
        return "it holds values that are not finite"
    if predictions.kind == "regression":
        return ""
    if predictions.kind not in ("classification", "verification"):
        return f"unknown kind '{predictions.kind}'"
    if not all(np.issubdtype(a.dtype, np.integer) for a in (targets, predicted)):
        return "its classes are not whole numbers"
    count = len(predictions.classes)
    if min(targets.min(), predicted.min()) < 0 or max(targets.max(), predicted.max()) >= count:
        return "it holds a class without a name"
    columns = count if predictions.kind == "classification" else 1
    if scores.shape[1] not in (0, columns):
        return f"its scores are {scores.shape[1]} a row, where {columns} fit"
    return ""


def confusions(predictions: Predictions) -> np.ndarray:
    """int [K, K]: how many rows of each class (first axis) were taken for each (second)."""
    labels = range(len(predictions.classes))
    counts: np.ndarray = confusion_matrix(
        predictions.targets, predictions.predicted, labels=list(labels)
    )
    return counts


def recalls(predictions: Predictions) -> list[Group]:
    """Of each class what percentage was recognised; nan where the test part has none."""
    counts = confusions(predictions)
    return [
        _share(name, int(counts[i, i]), int(counts[i].sum()))
        for i, name in enumerate(predictions.classes)
    ]


def groups(predictions: Predictions, grouping: str) -> list[Group]:
    """The score of each group of a grouping, groups by name."""
    names = np.array(predictions.groups[grouping])
    found = []
    for name in sorted(set(predictions.groups[grouping])):
        rows = names == name
        targets, predicted = predictions.targets[rows], predictions.predicted[rows]
        if predictions.kind == "regression":
            errors = np.abs(targets - predicted)
            # A normal approximation.
            half = 1.96 * float(errors.std(ddof=1)) / len(errors) ** 0.5 if len(errors) > 1 else 0
            mean = float(errors.mean())
            found.append(Group(name, mean, max(mean - half, 0.0), mean + half, len(errors)))
        else:
            found.append(_share(name, int((targets == predicted).sum()), len(targets)))
    return found


def _share(name: str, hits: int, n: int) -> Group:
    """A percentage with Wilson's interval (Wilson, JASA 22(158), 1927)."""
    if n == 0:
        return Group(name, float("nan"), float("nan"), float("nan"), 0)
    interval = binomtest(hits, n).proportion_ci(method="wilson")
    return Group(name, 100 * hits / n, 100 * interval.low, 100 * interval.high, n)


def gap(of: Sequence[Group]) -> float | None:
    """Best less worst of the groups that are large enough to be ranked; None of fewer than 2."""
    values = [group.value for group in of if not group.few]
    return max(values) - min(values) if len(values) > 1 else None


def roc(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, float] | None:
    """False and true accept rates (0 to 1) of pairs over thresholds, and the area under them.

    At most 200 points. None where the pairs are all of one kind or have no similarity.
    """
    same = np.asarray(predictions.targets)
    if predictions.scores.shape[1] != 1 or len(np.unique(same)) < 2:
        return None
    similarity = predictions.scores[:, 0]
    false, true, _ = roc_curve(same, similarity)
    area = float(roc_auc_score(same, similarity))
    if len(false) > _ROC_POINTS:
        # Evenly along the curve's length, so that steep and flat parts keep their shape.
        along = np.concatenate([[0], np.cumsum(np.hypot(np.diff(false), np.diff(true)))])
        rows = np.searchsorted(along, np.linspace(0, along[-1], _ROC_POINTS - 2))
        rows = np.unique(np.concatenate([[0], rows, [len(false) - 1]]).clip(0, len(false) - 1))
        false, true = false[rows], true[rows]
    return false, true, area


def mistakes(predictions: Predictions, most: int = 12) -> list[Mistake]:
    """The mistakes the probe was surest of, surest first.

    Of values the largest errors; of pairs half the most similar of different people, then half the
    least similar of one person.
    """
    targets, predicted = predictions.targets, predictions.predicted
    rows: np.ndarray
    if predictions.kind == "regression":
        confidence = np.abs(targets - predicted)
        rows = np.argsort(-confidence, kind="stable")[:most]
        target_names = [f"{targets[i]:.1f}" for i in rows]
        predicted_names = [f"{predicted[i]:.1f}" for i in rows]
    else:
        confidence = _confidence(predictions)
        wrong = targets != predicted
        if predictions.kind == "verification":
            accepted, rejected = (np.flatnonzero(wrong & (predicted == p)) for p in (1, 0))
            accepted = accepted[np.argsort(-confidence[accepted], kind="stable")]
            rejected = rejected[np.argsort(confidence[rejected], kind="stable")]
            rows = np.concatenate([accepted[: most // 2], rejected[: most // 2]])
        else:
            rows = np.flatnonzero(wrong)
            rows = rows[np.argsort(-confidence[rows], kind="stable")][:most]
        target_names = [predictions.classes[targets[i]] for i in rows]
        predicted_names = [predictions.classes[predicted[i]] for i in rows]
    return [
        Mistake(predictions.keys[i].split("\t"), target, taken_for, float(confidence[i]))
        for i, target, taken_for in zip(rows, target_names, predicted_names, strict=True)
    ]


def _confidence(predictions: Predictions) -> np.ndarray:
    """Of each row the score it was decided by; 0 where none were kept."""
    if predictions.scores.shape[1] == 0:
        return np.zeros(len(predictions.keys))
    if predictions.kind == "verification":
        return np.asarray(predictions.scores[:, 0])
    return np.asarray(predictions.scores[np.arange(len(predictions.keys)), predictions.predicted])
