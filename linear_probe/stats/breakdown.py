"""What is behind a figure: which classes are confused, and the figure of each class and group.

All of it comes from the predictions that `linear-probe run` keeps; nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix

from linear_probe.records.predictions import Predictions, predictions_path, read_predictions
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.reports.text_tables import Cell, Table, as_text
from linear_probe.stats.paired import row_name, rows_named
from ssl_faces import InputError

FEWEST = 30
"""Groups with fewer rows are shown, but not ranked: their figures are too uncertain."""


class PartFigure(NamedTuple):
    """A figure of a part of the test rows.

    Attributes:
        part: name of the class or the group.
        value: accuracy in percent (for a class its recall), or the mean absolute error.
        low, high: 95 % interval over the part's rows: Wilson's for a percentage (Wilson, JASA
            22(158), 1927), normal for an error.
        n: rows of the part.
    """

    part: str
    value: float
    low: float
    high: float
    n: int

    @property
    def ranked(self) -> bool:
        return self.n >= FEWEST


def recalls(predictions: Predictions) -> list[PartFigure]:
    """The recall of each class that the test part has, in the order of the classes."""
    return [
        _part(f"recall {name}", predictions, predictions.targets == number)
        for number, name in enumerate(predictions.classes)
        if (predictions.targets == number).any()
    ]


def by_group(predictions: Predictions, grouping: str) -> list[PartFigure]:
    """The figure of each group of a grouping, the best first, those with few rows last."""
    names = np.array(predictions.groups[grouping])
    parts = [_part(str(name), predictions, names == name) for name in np.unique(names)]
    sign = 1 if predictions.kind == "regression" else -1
    return sorted(parts, key=lambda figure: (not figure.ranked, sign * figure.value))


def ranked_gap(parts: Iterable[PartFigure]) -> float | None:
    """Best less worst of the parts that are ranked; None if there are fewer than 2."""
    values = [part.value for part in parts if part.ranked]
    return max(values) - min(values) if len(values) > 1 else None


def confusion(predictions: Predictions) -> np.ndarray:
    """int [K, K]: rows of each class (down) that were predicted as each class (across)."""
    matrix: np.ndarray = confusion_matrix(
        predictions.targets, predictions.predicted, labels=range(len(predictions.classes))
    )
    return matrix


def confusion_table(predictions: Predictions, title: str) -> Table:
    """Counts as a table; a page also shows shares of the true class."""
    matrix = confusion(predictions)
    body = []
    for name, row in zip(predictions.classes, matrix.tolist(), strict=True):
        cells: list[str] = [name]
        for count in row:
            share = count / max(sum(row), 1)
            small = f"{100 * share:.0f} %" if sum(row) else ""
            # At most half, so that the text stays legible.
            cells.append(Cell(str(count), value=count, small=small, tint=round(share / 2, 3)))
        body.append(cells)
    return Table(title, ["true \\ predicted", *predictions.classes], body)


def _part(name: str, predictions: Predictions, rows: np.ndarray) -> PartFigure:
    targets, predicted = predictions.targets[rows], predictions.predicted[rows]
    n = len(targets)
    if predictions.kind == "regression":
        errors = np.abs(predicted - targets)
        mean, half = float(errors.mean()), 0.0
        if n > 1:
            half = 1.96 * float(errors.std(ddof=1)) / n**0.5
        return PartFigure(name, mean, max(mean - half, 0.0), mean + half, n)
    hits = int((predicted == targets).sum())
    ends = binomtest(hits, n).proportion_ci(method="wilson")
    return PartFigure(name, 100 * hits / n, 100 * ends.low, 100 * ends.high, n)


def breakdown(folder: str | Path, row: str | None = None, markdown: bool = False) -> str:
    """The confusion matrix, the recalls and the groups' figures of each main figure, as text.

    Args:
        folder: what `linear-probe run` wrote.
        row: ENCODER or ENCODER=SPACE, to show this row of the table only.

    Raises:
        InputError: no such row, or no predictions were kept.
    """
    folder = Path(folder)
    records = [r for r in read_records(folder / RECORDS_FILE) if not r.condition]
    if row is not None:
        records = rows_named(records, row, folder)
    parts = []
    for record in records:
        predictions = read_predictions(predictions_path(folder, record))
        if predictions is not None:
            parts += [as_text(t, markdown) for t in _tables(record, predictions)]
    if not parts:
        raise InputError(
            f"{folder}: no predictions were kept there; run `linear-probe run --out {folder}` again"
        )
    return "\n\n".join(parts)


def _tables(record: Record, predictions: Predictions) -> list[Table]:
    title = f"{record.task}: {record.data_set}, {row_name(record)}, {record.probe}"
    title += f", seed {record.seed}" if record.seed else ""
    title += f": {record.metric}"
    tables = []
    if predictions.kind == "classification":
        tables.append(confusion_table(predictions, f"{title}, confusion matrix"))
        tables.append(_parts_table(title, ["class", "%", "n"], recalls(predictions)))
    for grouping in predictions.groups:
        header = [grouping, record.unit, "n"]
        parts = by_group(predictions, grouping)
        tables.append(_parts_table(f"{title} by {grouping}", header, parts))
    return tables


def _parts_table(title: str, header: list[str], parts: list[PartFigure]) -> Table:
    few = any(not part.ranked for part in parts)
    body = [
        [
            part.part + ("" if part.ranked else " (few)"),
            f"{part.value:.2f} [{part.low:.2f}, {part.high:.2f}]",
            f"{part.n:,}",
        ]
        for part in parts
    ]
    return Table(
        title, header, body, [f"(few): under {FEWEST} test rows, not ranked"] if few else []
    )
