"""The leakage matrix: what each feature space predicts that it should, and that it should not.

An expression code that identifies people leaks identity; an identity code that predicts
expressions leaks those; either leaks light if it predicts where the light comes from. It is made
from the records and predictions of a run; nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from linear_probe.records.collect import Found, find_records
from linear_probe.records.record import Record
from linear_probe.reports.text_tables import Table, as_text
from ssl_faces import InputError


class Score(NamedTuple):
    """How well one space predicts one factor.

    Attributes:
        normalised: 0 at chance, 1 if all is right.
        raw: the figure behind it, with its unit and data set.
    """

    normalised: float
    raw: str


class _Factor(NamedTuple):
    name: str
    task: str
    metrics: tuple[str, ...]  # whose chance does not depend on how common the classes are
    kept_with: tuple[str, ...]  # metrics whose targets chance is computed from
    chance: Callable[[np.ndarray], float]


def _of_classes(targets: np.ndarray) -> float:
    """Mean class recall (%) of guessing, whatever the guess: 1 / number of classes."""
    return 100 / len(np.unique(targets))


def _of_constant(targets: np.ndarray) -> float:
    """The lowest mean absolute error that one value for all can have: that of the median."""
    return float(np.abs(targets - np.median(targets)).mean())


def _of_pairs(targets: np.ndarray) -> float:
    return 50.0  # of the area under the ROC curve (%), however many pairs are the same


_ANGLES = ("MAE yaw", "MAE pitch", "MAE roll")
_LIGHT = ("MAE azimuth", "MAE elevation")
_GENDER, _RACE = ("gender mean class recall",), ("race mean class recall",)

_FACTORS = (
    _Factor("expression", "expression", ("mean class recall",), ("accuracy",), _of_classes),
    _Factor("pose", "pose", _ANGLES, _ANGLES, _of_constant),
    _Factor("identity", "identity", ("AUC",), ("accuracy",), _of_pairs),
    _Factor("light", "light", _LIGHT, _LIGHT, _of_constant),
    _Factor("age", "attributes", ("MAE age",), ("MAE age",), _of_constant),
    _Factor("gender", "attributes", _GENDER, ("gender accuracy",), _of_classes),
    _Factor("race", "attributes", _RACE, ("race accuracy",), _of_classes),
)


def scores(folder: str | Path) -> dict[str, dict[str, Score]]:
    """By row (ENCODER=SPACE) and factor; the mean over seeds.

    Raises:
        InputError: records without predictions, so that chance is not known.
    """
    found = [each for each in find_records([folder]) if not each.record.condition]
    rows: dict[str, dict[str, Score]] = {}
    for factor in _FACTORS:
        by_row: dict[str, list[Found]] = {}
        for each in found:
            if each.record.task == factor.task and each.record.feature_space:
                by_row.setdefault(each.record.row_name, []).append(each)
        for row, mine in by_row.items():
            # The task's own probe comes first; other protocols are not mixed in. The first data
            # set stands for the factor.
            basis = next(
                (_basis(e.record) for e in mine if e.record.metric in factor.metrics), None
            )
            if basis is not None:
                same = [each for each in mine if _basis(each.record) == basis]
                rows.setdefault(row, {})[factor.name] = _score(factor, same)
    return rows


def _basis(record: Record) -> tuple[str, ...]:
    return record.data_set, record.split, record.probe


def _score(factor: _Factor, found: Sequence[Found]) -> Score:
    normalised, raw = [], []
    for metric, kept in zip(factor.metrics, factor.kept_with, strict=True):
        figures = [each.record for each in found if each.record.metric == metric]
        for record in figures:
            chance = factor.chance(_targets(found, kept, record))
            best = 100.0 if record.higher_is_better else 0.0
            # With one class, or one value for all, there is nothing to predict.
            normalised.append((record.value - chance) / (best - chance) if best != chance else 0.0)
        if figures:
            mean = fmean(record.value for record in figures)
            raw.append(f"{metric} {mean:.2f} {figures[0].unit}")
    return Score(fmean(normalised), ", ".join(raw))


def _targets(found: Sequence[Found], kept: str, record: Record) -> np.ndarray:
    """The test rows' targets, from the predictions of the metric `kept` and the record's seed."""
    for each in found:
        if (each.record.metric, each.record.seed) == (kept, record.seed):
            predictions = each.predictions()
            if predictions is not None:
                return predictions.targets
    folder = found[0].folder
    raise InputError(
        f"{folder}: no predictions of {record.row_name}, {record.task}, were kept, which chance is "
        f"computed from; run `linear-probe run --out {folder}` again"
    )


def leakage(folder: str | Path, markdown: bool = False) -> str:
    """The matrix as text: normalised scores, and below them the figures they are made from.

    Raises:
        InputError: no record, or none of a factor, or no predictions.
    """
    rows = scores(folder)
    if not rows:
        raise InputError(
            f"{folder}: holds no figure of {', '.join(dict.fromkeys(f.task for f in _FACTORS))}; "
            f"run `linear-probe run --out {folder}` with these tasks"
        )
    factors = [f.name for f in _FACTORS if any(f.name in row for row in rows.values())]
    missing = [factor.name for factor in _FACTORS if factor.name not in factors]
    matrix, raw = [], []
    for row, by_factor in rows.items():
        encoder, _, space = row.rpartition("=")
        cells = [by_factor.get(name) for name in factors]
        matrix.append([encoder, space, *(f"{c.normalised:.2f}" if c else "-" for c in cells)])
        raw.append([encoder, space, *(c.raw if c else "-" for c in cells)])
    notes = [
        "0: chance; 1: all right. Expression, gender, race: mean class recall over 1 / classes; "
        "identity: area under the ROC curve over 50 %; pose, light, age: mean absolute error below "
        "that of the median for every image (below 0: worse than that)",
        "an expression code should score high on expression and low on identity, an identity code "
        "the other way round, and both low on light",
    ]
    if missing:
        notes.append(f"not in these records: {', '.join(missing)}")
    header = ["encoder", "features", *factors]
    tables = [
        Table("what each feature space predicts", header, matrix, notes),
        Table("the figures behind it", header, raw),
    ]
    return "\n\n".join(as_text(table, markdown) for table in tables)
