"""One table of methods that were trained with the same budget, made from their records.

`ssl-faces compare` trains and scores them, and leaves `comparison.json` in its folder: which runs
there are, and what they took. A row is a method with all its seeds; a task's figures are of the
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
from linear_probe.reports.tables import tables
from linear_probe.stats.over_seeds import Gap, OverSeeds, gap, holm
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from ssl_faces.common.files import regular

COMPARISON_FILE = "comparison.json"

# Of each task: metric, and the probe where one metric has several. Of others the first metric.
_METRICS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "expression": (("accuracy", None), ("kNN accuracy", None)),
    "pose": (("MAE yaw", None), ("MAE pitch", None), ("MAE roll", None)),
    "identity": (("accuracy", "cosine similarity"), ("accuracy", WHITENED)),
    "attributes": (("gender accuracy", None), ("race accuracy", None), ("MAE age", None)),
}

APART = 0.05
"""Corrected p-value below which two methods are told apart."""


@dataclass(frozen=True)
class TrainedRun:
    """One seed of a method, with all its stages; fields as `ssl-faces compare` writes them.

    Attributes:
        encoder: as it was scored: the name in the records.
        steps: of each stage.
        pairs: seen in training.
        pflop: 10^15 multiplications and additions of training.
        uses_identity_labels: pairs may be two pictures of a person.
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
    """A method: its finished runs, what went wrong with others, spaces that are not chosen."""

    name: str
    runs: list[TrainedRun]
    error: str | None = None
    spaces: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Compared:
    """What `comparison.json` says.

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
    higher_is_better: bool

    @property
    def heading(self) -> str:
        # Of attributes the metric says which.
        metric = self.metric if self.task == "attributes" else f"{self.task} {self.metric}"
        metric += ", whitened" if self.probe == WHITENED else ""
        return f"{metric} {'°' if self.unit == 'degrees' else self.unit}".strip()


@dataclass(frozen=True)
class Entry:
    """A row's figure in a column.

    Attributes:
        space: the feature space it is of.
        records: of each seed.
        gap: the figure less the best one of the column; None of the best itself, of baselines, and
            where they were not scored on the same draws.
        corrected: its p-value, corrected for the number of tests in the column.
        best: whether it is the best of the column's methods.
    """

    space: str
    records: tuple[Record, ...]
    over_seeds: OverSeeds
    gap: Gap | None = None
    corrected: float | None = None
    best: bool = False

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, within what the metric can be."""
        low, high = self.over_seeds.interval
        if self.records[0].unit == "%":
            return max(low, 0.0), min(high, 100.0)
        # An error; agreement may be negative.
        return (low if self.records[0].higher_is_better else max(low, 0.0)), high

    @property
    def tied(self) -> bool:
        """Whether the test doesn't tell it from the best."""
        return self.corrected is not None and self.corrected >= APART

    def __str__(self) -> str:
        mark = "*" if any(record.at_grid_edge for record in self.records) else ""
        spread = self.over_seeds.spread
        around = "" if spread is None else f" ± {spread:.2f}"
        low, high = self.interval
        return f"{self.over_seeds.value:.2f}{mark}{around} [{low:.2f}, {high:.2f}]"


@dataclass
class Row:
    """A method or a baseline, with its figures by column; `about` is None of a baseline."""

    name: str
    about: Trained | None
    entries: dict[Column, Entry] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """All that the table says.

    Attributes:
        tests: how many pairs of methods were tested.
        notes: what a reader must know of how spaces were chosen.
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
        found = json.loads(regular(path).read_bytes())
        methods = [
            Trained(**{**one, "runs": [TrainedRun(**run) for run in one["runs"]]})
            for one in found["methods"]
        ]
        return Compared(**{**found, "methods": methods})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: can't be used ({error}); give the --out of `ssl-faces compare`"
        ) from error


def comparison(folder: str | Path) -> Comparison:
    """The rows of methods and baselines, the best of each column and what is tied with it.

    Raises:
        InputError: the folder can't be read, or a space is named that an encoder hasn't.
    """
    folder = Path(folder)
    compared = read_compared(folder)
    scores = folder / compared.scores
    records = [r for r in read_records(scores / RECORDS_FILE) if not r.condition]
    replicates = read_replicates(scores / REPLICATES_FILE)
    columns = _columns(records)
    tasks = list(dict.fromkeys(column.task for column in columns))
    for method in compared.methods:
        for task in method.spaces:
            if task not in tasks:
                raise InputError(
                    f"spaces.{method.name}.{task}: that task was not scored; there are "
                    + ", ".join(tasks)
                )
    rows, of_row = _rows(compared, records)
    notes: dict[str, None] = {}
    for row, mine in zip(rows, of_row, strict=True):
        for column in columns:
            space = _space(row, column, mine, columns, notes)
            found = [r for r in mine if _in(r, column) and r.feature_space == space]
            if found:
                found.sort(key=lambda r: row_seed(row, r))
                row.entries[column] = _entry(space, found, replicates, scores)
    tests = sum(_test(column, rows) for column in columns)
    return Comparison(compared, columns, rows, tests, list(notes))


def row_seed(row: Row, record: Record) -> int:
    """The training seed of a row's record; of baselines that of the probe."""
    runs = row.about.runs if row.about else []
    return next((run.seed for run in runs if run.encoder == record.encoder), record.seed)


def _columns(records: Sequence[Record]) -> list[Column]:
    found: dict[Column, None] = {}
    for table in tables(records):
        wanted = _METRICS.get(table.task, ((table.metrics[0], None),))
        for metric, probe in wanted:
            for r in table.records:
                # Predicting the mean has the probe `none`.
                if r.metric == metric and probe in (None, r.probe) and r.feature_space:
                    where = (r.task, r.data_set, r.split, r.metric)
                    found[Column(*where, r.probe, r.unit, r.higher_is_better)] = None
                    break
    return list(found)


def _in(record: Record, column: Column) -> bool:
    where = (record.task, record.data_set, record.split, record.metric)
    return where == (column.task, column.data_set, column.split, column.metric) and (
        record.probe == column.probe or not record.feature_space
    )


def _rows(compared: Compared, records: Sequence[Record]) -> tuple[list[Row], list[list[Record]]]:
    """Methods in their order, then baselines; and the records of each."""
    rows, of_row = [], []
    untrained: dict[str, str] = {}
    for method in compared.methods:
        encoders = {run.encoder for run in method.runs}
        untrained |= {f"{name}, untrained": f"{method.name}, untrained" for name in encoders}
        rows.append(Row(method.name, method))
        of_row.append([r for r in records if r.encoder in encoders])
    trained = {run.encoder for method in compared.methods for run in method.runs}
    for name in dict.fromkeys(r.encoder for r in records):
        # What earlier comparisons in this folder had, and this one has not, is no baseline.
        if name in trained or (name.startswith(f"{compared.folder}/") and name not in untrained):
            continue
        # A method's untrained encoder once, whichever of its runs it is named after.
        if untrained.get(name) in {row.name for row in rows}:
            continue
        rows.append(Row(untrained.get(name, name), None))
        of_row.append([r for r in records if r.encoder == name])
    return rows, of_row


def _space(
    row: Row, column: Column, mine: list[Record], columns: list[Column], notes: dict[str, None]
) -> str:
    """The feature space whose figure stands in a column."""
    spaces = list(dict.fromkeys(r.feature_space for r in mine if _in(r, column)))
    fixed = row.about.spaces.get(column.task) if row.about else None
    if fixed is not None and mine:
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
    for asked in dict.fromkeys((column, first)):
        by_space = {s: [r for r in mine if _in(r, asked) and r.feature_space == s] for s in spaces}
        on_validation = {s: [_validation(r) for r in of] for s, of in by_space.items()}
        if all(None not in found and found for found in on_validation.values()):
            return max(spaces, key=lambda s: float(np.mean(on_validation[s])))  # type: ignore[arg-type]
        # Whitening sees all folds' pictures but its own: its choice is the plain one's.
        if asked == first:
            voted = _vote({s: [_other_folds(r) for r in of] for s, of in by_space.items()})
            if voted is not None:
                space, share = voted
                if share < 1:
                    notes[
                        f"{row.name}, {column.task}: {space}, chosen by {share:.0%} of the folds"
                    ] = None
                return space
    notes[f"{row.name}, {column.task}: {spaces[0]}, the first space: nothing to choose by"] = None
    return spaces[0]


def _validation(record: Record) -> float | None:
    """What was reached on the validation split, higher being better."""
    found = record.hyperparameters.get("validation")
    if not isinstance(found, dict) or len(found) != 1:
        return None
    ((name, value),) = found.items()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return -float(value) if name.startswith("MAE") else float(value)


def _other_folds(record: Record) -> list[float]:
    """Of each fold, what was reached on the others."""
    found = record.hyperparameters.get("other folds")
    values = found.get("accuracy") if isinstance(found, dict) else None
    return [float(value) for value in values] if isinstance(values, list) else []


def _vote(by_space: dict[str, list[list[float]]]) -> tuple[str, float] | None:
    """The space that most folds of most seeds choose, none of them by its own pairs; and by how
    many of them."""
    try:
        # [spaces, seeds x folds]
        reached = np.array([np.concatenate(of) for of in by_space.values()])
    except ValueError:
        return None
    if reached.size == 0 or reached.ndim != 2:
        return None
    votes = np.bincount(reached.argmax(axis=0), minlength=len(reached))
    ranked = sorted(range(len(votes)), key=lambda i: (votes[i], reached[i].mean()), reverse=True)
    return list(by_space)[ranked[0]], float(votes[ranked[0]] / votes.sum())


def _entry(
    space: str, records: list[Record], replicates: dict[str, np.ndarray], scores: Path
) -> Entry:
    for r in records:
        if r.name not in replicates:
            raise InputError(
                f"{scores}: no bootstrap replicates of {r.encoder}, {r.metric}; delete the folder "
                "and run `ssl-faces compare` again"
            )
    over_seeds = OverSeeds(
        np.array([r.value for r in records]), np.stack([replicates[r.name] for r in records])
    )
    return Entry(space, tuple(records), over_seeds)


def _test(column: Column, rows: list[Row]) -> int:
    """Mark the best method of a column, and test each other against it; how many tests."""
    sign = 1 if column.higher_is_better else -1
    mine = [row for row in rows if row.about is not None and column in row.entries]
    if len(mine) < 2:
        return 0
    best = max(mine, key=lambda row: sign * row.entries[column].over_seeds.value)
    top = best.entries[column]
    best.entries[column] = replace(top, best=True)
    samples = {r.sample for r in top.records}
    others = [
        row
        for row in mine
        if row is not best
        and len(samples) == 1
        and {r.sample for r in row.entries[column].records} == samples
        and row.entries[column].over_seeds.replicates.shape[1] == top.over_seeds.replicates.shape[1]
    ]
    gaps = [gap(row.entries[column].over_seeds, top.over_seeds) for row in others]
    for row, found, corrected in zip(others, gaps, holm([g.p for g in gaps]), strict=True):
        row.entries[column] = replace(row.entries[column], gap=found, corrected=corrected)
    return len(others)
