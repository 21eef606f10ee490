"""Behind a figure: who is taken for whom, and how each class and each group of people fares.

All of it from the predictions that `linear-probe run` keeps, nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from linear_probe.records.predictions import Predictions, predictions_path, read_predictions
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.stats.intervals import interval, row_weights
from linear_probe.stats.paired import row_name
from ssl_faces import InputError

FEWEST = 30
"""Groups with fewer rows are told, but not ranked: their figures say little."""

REPLICATES = 1000


class PartFigure(NamedTuple):
    """A figure of a part of the test rows.

    Attributes:
        part: name of the class or the group.
        value: accuracy in percent, of a class its recall; of values the mean absolute error.
        low, high: the 95 % bootstrap interval over the part's rows.
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


def recalls(predictions: Predictions, seed: int = 0) -> list[PartFigure]:
    """The recall of each class that the test part has, in the order of the classes."""
    return [
        _part(f"recall {name}", predictions, predictions.targets == number, seed)
        for number, name in enumerate(predictions.classes)
        if (predictions.targets == number).any()
    ]


def by_group(predictions: Predictions, grouping: str, seed: int = 0) -> list[PartFigure]:
    """The figure of each group of a grouping, the best first, those with few rows last."""
    names = np.array(predictions.groups[grouping])
    found = [_part(str(name), predictions, names == name, seed) for name in np.unique(names)]
    sign = 1 if predictions.kind == "regression" else -1
    return sorted(found, key=lambda figure: (not figure.ranked, sign * figure.value))


def confusion(predictions: Predictions) -> np.ndarray:
    """int [K, K]: how many rows of each class (down) were called each class (across)."""
    matrix: np.ndarray = confusion_matrix(
        predictions.targets, predictions.predicted, labels=range(len(predictions.classes))
    )
    return matrix


def _part(name: str, predictions: Predictions, rows: np.ndarray, seed: int) -> PartFigure:
    targets, predicted = predictions.targets[rows], predictions.predicted[rows]
    if predictions.kind == "regression":
        of_row = np.abs(predicted - targets)
    else:
        of_row = 100.0 * (predicted == targets)
    replicates = row_weights(len(of_row), REPLICATES, seed) @ of_row / len(of_row)
    return PartFigure(name, float(of_row.mean()), *interval(replicates), len(of_row))


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
        wanted = [r for r in records if row in (r.encoder, row_name(r))]
        if not wanted:
            there = ", ".join(dict.fromkeys(map(row_name, records)))
            raise InputError(f"{folder}: holds no row '{row}'; there are {there}")
        records = wanted
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
    of = f"{record.task}: {record.data_set}, {row_name(record)}, {record.probe}"
    of += f", seed {record.seed}" if record.seed else ""
    found = []
    if predictions.kind == "classification":
        matrix, names = confusion(predictions), predictions.classes
        called = [f"called {name}" for name in names]
        body = [[name, *map(str, row)] for name, row in zip(names, matrix, strict=True)]
        found.append(Table(f"{of}: {record.metric}, who is taken for whom", ["", *called], body))
        found.append(_parts_table(f"{of}: {record.metric}", "class", "%", recalls(predictions)))
    unit = record.unit
    for grouping in predictions.groups:
        figures = by_group(predictions, grouping, record.seed)
        found.append(_parts_table(f"{of}: {record.metric} by {grouping}", grouping, unit, figures))
    return found


def _parts_table(title: str, what: str, unit: str, figures: Sequence[PartFigure]) -> Table:
    few = any(not figure.ranked for figure in figures)
    body = [
        [
            figure.part + ("" if figure.ranked else " (few)"),
            f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]",
            f"{figure.n:,}",
        ]
        for figure in figures
    ]
    notes = [f"(few): fewer than {FEWEST} test rows, not ranked"] if few else []
    return Table(title, [what, unit, "n"], body, notes)
