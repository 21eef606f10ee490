"""One table of methods that were trained with the same budget, made from their records.

`ssl-faces compare` trains and scores them, and leaves `comparison.json` in its folder: which runs
there are, and what they cost. A row is a method with all its seeds; a task's figures are of the
feature space that is best on the validation split, or that `comparison.json` names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports.tables import task_figures
from linear_probe.stats.over_seeds import Estimate, Gap, Replicates, gap, holm
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from ssl_faces.common.files import regular

COMPARISON_FILE = "comparison.json"

# By task: the metric, and the probe if one metric has several. For other tasks the first metric.
_METRICS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "expression": (("accuracy", None), ("kNN accuracy", None)),
    "pose": (("MAE yaw", None), ("MAE pitch", None), ("MAE roll", None)),
    "identity": (("accuracy", "cosine similarity"), ("accuracy", WHITENED)),
    "attributes": (("gender accuracy", None), ("race accuracy", None), ("MAE age", None)),
}

SIGNIFICANT = 0.05
"""Corrected p-value below which two methods are significantly different."""


@dataclass(frozen=True)
class TrainedRun:
    """One seed of a method, with all its stages; fields as `ssl-faces compare` writes them.

    Attributes:
        encoder: the name in the records.
        steps: of each stage.
        pairs: seen in training.
        pflop: 10^15 multiplications and additions of training.
        uses_identity_labels: pairs may be two images of a person.
    """

    seed: int
    encoder: str
    steps: list[int]
    pairs: int
    pflop: float
    seconds: float
    uses_identity_labels: bool
    hardware: str


@dataclass(frozen=True)
class Trained:
    """A method: its finished runs, the error of others, and spaces that are not chosen."""

    name: str
    runs: list[TrainedRun]
    error: str | None = None
    spaces: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """The content of `comparison.json`.

    Attributes:
        folder: of the runs, as their encoders' names begin.
        scores: folder of the records, within that of the file.
    """

    budget_pflop: float
    folder: str
    scores: str
    methods: list[Trained]


@dataclass(frozen=True)
class Column:
    """One metric of one task on one data set."""

    task: str
    data_set: str
    split: str
    metric: str
    probe: str
    unit: str
    higher_is_better: bool = True

    @property
    def heading(self) -> str:
        # The metrics of attributes name the attribute.
        metric = self.metric if self.task == "attributes" else f"{self.task} {self.metric}"
        metric += ", whitened" if self.probe == WHITENED else ""
        return f"{metric} {'°' if self.unit == 'degrees' else self.unit}".strip()


@dataclass(frozen=True)
class Entry:
    """A row's figure in a column.

    Attributes:
        space: the feature space it is of.
        gap: the figure less the best one of the column; None for the best itself, for baselines,
            and if they were not scored on the same draws.
        corrected: its p-value, corrected for the number of tests in the column.
        best: whether it is the best of the column's methods.
    """

    space: str
    estimate: Estimate
    gap: Gap | None = None
    corrected: float | None = None
    best: bool = False

    @property
    def tied(self) -> bool:
        """Whether the test finds no significant difference from the best."""
        return self.corrected is not None and self.corrected >= SIGNIFICANT


@dataclass
class Row:
    """A method or a baseline, with its figures by column; `about` is None for a baseline."""

    name: str
    about: Trained | None
    records: list[Record]
    entries: dict[Column, Entry] = field(default_factory=dict)

    def seed(self, record: Record) -> int:
        """The training seed of a record; for baselines the probe's."""
        runs = self.about.runs if self.about else []
        return next((run.seed for run in runs if run.encoder == record.encoder), record.seed)


@dataclass(frozen=True)
class Comparison:
    """What the table shows.

    Attributes:
        tests: how many pairs of methods were tested.
        notes: how spaces were chosen.
    """

    compared: Compared
    columns: list[Column]
    rows: list[Row]
    tests: int
    notes: list[str]


def read_compared(folder: Path) -> Compared:
    """What was trained in a folder of `ssl-faces compare`.

    Raises:
        InputError: no such folder, or its file can't be used.
    """
    path = folder / COMPARISON_FILE
    try:
        content = json.loads(regular(path).read_bytes())
        methods = [
            Trained(**{**method, "runs": [TrainedRun(**run) for run in method["runs"]]})
            for method in content["methods"]
        ]
        return Compared(**{**content, "methods": methods})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: can't be used ({error}); give the --out of `ssl-faces compare`"
        ) from error


def comparison(folder: str | Path) -> Comparison:
    """The rows of methods and baselines, the best of each column and what is tied with it.

    Raises:
        InputError: the folder can't be read, or a space is named that an encoder doesn't have.
    """
    folder = Path(folder)
    compared = read_compared(folder)
    scores = folder / compared.scores
    records = [r for r in read_records(scores / RECORDS_FILE) if not r.condition]
    draws = read_replicates(scores / REPLICATES_FILE)
    replicates = {r.key: draws[r.name] for r in records if r.name in draws}
    columns = _columns(records)
    tasks = list(dict.fromkeys(column.task for column in columns))
    for method in compared.methods:
        for task in method.spaces:
            if task not in tasks:
                raise InputError(
                    f"spaces.{method.name}.{task}: that task was not scored; there are "
                    + ", ".join(tasks)
                )
    rows = _rows(compared, records)
    notes: dict[str, None] = {}
    for row in rows:
        for column in columns:
            space = _space(row, column, columns, notes)
            mine = [r for r in row.records if _in(r, column) and r.feature_space == space]
            if mine:
                row.entries[column] = Entry(space, _estimate(row, mine, replicates, scores))
    tests = sum(_test(column, rows) for column in columns)
    return Comparison(compared, columns, rows, tests, list(notes))


def _columns(records: Sequence[Record]) -> list[Column]:
    columns: dict[Column, None] = {}
    for figures in task_figures(records):
        for metric, probe in _METRICS.get(figures.task, ((figures.metrics[0], None),)):
            for r in figures.records:
                # Predicting the mean has the probe `none`.
                if r.metric == metric and probe in (None, r.probe) and r.feature_space:
                    where = (r.task, r.data_set, r.split, r.metric)
                    columns[Column(*where, r.probe, r.unit, r.higher_is_better)] = None
                    break
    return list(columns)


def _in(record: Record, column: Column) -> bool:
    where = (record.task, record.data_set, record.split, record.metric)
    return where == (column.task, column.data_set, column.split, column.metric) and (
        record.probe == column.probe or not record.feature_space
    )


def _rows(compared: Compared, records: Sequence[Record]) -> list[Row]:
    """Methods in their order, then baselines."""
    rows = []
    untrained: dict[str, str] = {}
    for method in compared.methods:
        encoders = {run.encoder for run in method.runs}
        untrained |= {f"{name}, untrained": f"{method.name}, untrained" for name in encoders}
        rows.append(Row(method.name, method, [r for r in records if r.encoder in encoders]))
    trained = {run.encoder for method in compared.methods for run in method.runs}
    for name in dict.fromkeys(r.encoder for r in records):
        # What earlier comparisons in this folder had, and this one has not, is no baseline.
        if name in trained or (name.startswith(f"{compared.folder}/") and name not in untrained):
            continue
        # A method's untrained encoder once, whichever of its runs it is named after.
        if untrained.get(name) in {row.name for row in rows}:
            continue
        mine = [r for r in records if r.encoder == name]
        rows.append(Row(untrained.get(name, name), None, mine))
    return rows


def _space(row: Row, column: Column, columns: list[Column], notes: dict[str, None]) -> str:
    """The feature space whose figure stands in a column."""
    spaces = list(dict.fromkeys(r.feature_space for r in row.records if _in(r, column)))
    fixed = row.about.spaces.get(column.task) if row.about else None
    if fixed is not None and row.records:
        if fixed not in spaces:
            raise InputError(
                f"spaces.{row.name}.{column.task}: its encoder has no feature space '{fixed}'; "
                f"there are {', '.join(spaces)}"
            )
        notes[f"{row.name}, {column.task}: {fixed}, as the comparison's config says"] = None
        return fixed
    if len(spaces) < 2:
        return spaces[0] if spaces else ""
    # A column without a choice of its own has that of its task's first one.
    first = next(c for c in columns if (c.task, c.data_set) == (column.task, column.data_set))
    for by in dict.fromkeys((column, first)):
        mine = [r for r in row.records if _in(r, by)]
        by_space = {s: [r for r in mine if r.feature_space == s] for s in spaces}
        on_validation = {s: [_validation(r) for r in those] for s, those in by_space.items()}
        if all(None not in scores and scores for scores in on_validation.values()):
            return max(spaces, key=lambda s: float(np.mean(on_validation[s])))  # type: ignore[arg-type]
        # Whitening sees the images of all folds but its own: its choice is the plain one's.
        if by == first:
            vote = _vote({s: [_other_folds(r) for r in those] for s, those in by_space.items()})
            if vote is not None:
                space, share = vote
                if share < 1:
                    how = f"{space}, chosen by {share:.0%} of the folds"
                    notes[f"{row.name}, {column.task}: {how}"] = None
                return space
    notes[f"{row.name}, {column.task}: {spaces[0]}, the first space: nothing to choose by"] = None
    return spaces[0]


def _validation(record: Record) -> float | None:
    """The score on the validation split; higher is better."""
    scores = record.hyperparameters.get("validation")
    if not isinstance(scores, dict) or len(scores) != 1:
        return None
    ((name, value),) = scores.items()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return -float(value) if name.startswith("MAE") else float(value)


def _other_folds(record: Record) -> list[float]:
    """For each fold, the accuracy on the other folds."""
    scores = record.hyperparameters.get("other folds")
    values = scores.get("accuracy") if isinstance(scores, dict) else None
    return [float(value) for value in values] if isinstance(values, list) else []


def _vote(by_space: dict[str, list[list[float]]]) -> tuple[str, float] | None:
    """The space that most folds of most seeds choose, none of them by its own pairs; and the share
    of the folds that choose it."""
    try:
        # [spaces, seeds x folds]
        accuracy = np.array([np.concatenate(folds) for folds in by_space.values()])
    except ValueError:
        return None
    if accuracy.size == 0 or accuracy.ndim != 2:
        return None
    votes = np.bincount(accuracy.argmax(axis=0), minlength=len(accuracy))
    best = max(range(len(votes)), key=lambda i: (votes[i], accuracy[i].mean()))
    return list(by_space)[best], float(votes[best] / votes.sum())


def _estimate(row: Row, records: list[Record], replicates: Replicates, scores: Path) -> Estimate:
    for r in records:
        if r.key not in replicates:
            raise InputError(
                f"{scores}: no bootstrap replicates of {r.encoder}, {r.metric}; delete the folder "
                "and run `ssl-faces compare` again"
            )
    # The records' own seed is the probe's.
    by_seed = [replace(r, seed=row.seed(r)) for r in records]
    draws = {new.key: replicates[old.key] for new, old in zip(by_seed, records, strict=True)}
    return Estimate.of(by_seed, draws)


def _test(column: Column, rows: list[Row]) -> int:
    """Mark the best method of a column, and test each other against it; how many tests."""
    sign = 1 if column.higher_is_better else -1
    methods = [row for row in rows if row.about is not None and column in row.entries]
    if len(methods) < 2:
        return 0
    best = max(methods, key=lambda row: sign * row.entries[column].estimate.value)
    top = best.entries[column].estimate
    best.entries[column] = replace(best.entries[column], best=True)
    others = [
        row for row in methods if row is not best and row.entries[column].estimate.comparable(top)
    ]
    gaps = [gap(row.entries[column].estimate, top) for row in others]
    for row, one, corrected in zip(others, gaps, holm([g.p for g in gaps]), strict=True):
        row.entries[column] = replace(row.entries[column], gap=one, corrected=corrected)
    return len(others)
