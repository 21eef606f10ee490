"""Methods that were trained with the same budget, compared by their records.

`ssl-faces compare` trains and scores them, and leaves `comparison.json` in its folder: which runs
there are, and what they cost. A row is a method with all its seeds; a task's figures are of the
feature space that is best on the validation split, or that `comparison.json` names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports.compared import Compared, Trained, read_compared
from linear_probe.reports.tables import task_figures
from linear_probe.stats.intervals import few_people_in
from linear_probe.stats.over_seeds import Estimate, against_best
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from ssl_faces.common.files import replace_file

TUNING_FILE = "tuning.json"

SIGNIFICANT = 0.05
"""Corrected p-value below which two methods are significantly different."""

# By task: the metric, and the probe if one metric has several. For other tasks the first metric.
_METRICS: dict[str, tuple[tuple[str, str | None], ...]] = {
    "expression": (("accuracy", None), ("kNN accuracy", None)),
    "pose": (("MAE yaw", None), ("MAE pitch", None), ("MAE roll", None)),
    "identity": (("accuracy", "cosine similarity"), ("accuracy", WHITENED)),
    "attributes": (("gender accuracy", None), ("race accuracy", None), ("MAE age", None)),
}

TWO_IMAGES = "two_image_pairs_%"
"""Share of the pairs that are two images of one person. Older tables lack this column."""

CSV_COLUMNS = (
    *("method", "kind", "seeds", "task", "data_set", "split", "metric", "probe", "feature_space"),
    *("unit", "n", "value", "spread", "low", "high", "at_grid_edge", "best", "tied"),
    *("gap", "gap_low", "gap_high", "p", "p_corrected"),
    *("steps", "pairs", "pflop", "minutes", "uses_identity_labels", "error"),
    TWO_IMAGES,
)
Line = dict[str, str]
"""Cells by `CSV_COLUMNS`."""


class Column(NamedTuple):
    """One metric of one task on one data set."""

    task: str
    data_set: str
    split: str
    metric: str
    probe: str
    unit: str

    @property
    def heading(self) -> str:
        # The metrics of attributes name the attribute.
        metric = self.metric if self.task == "attributes" else f"{self.task} {self.metric}"
        metric += ", whitened" if self.probe == WHITENED else ""
        return f"{metric} {'°' if self.unit == 'degrees' else self.unit}".strip()


@dataclass(frozen=True)
class Row:
    """A method or a baseline with its records.

    Attributes:
        about: None for a baseline.
        records: those of methods have the seed of the training instead of the probe's.
    """

    name: str
    about: Trained | None
    records: list[Record]

    def records_in(self, column: Column) -> list[Record]:
        """Those of a column's metric and probe, of all feature spaces."""
        return [
            r
            for r in self.records
            if (r.task, r.data_set, r.split, r.metric) == column[:4]
            and (r.probe == column.probe or not r.feature_space)
        ]


@dataclass(frozen=True)
class Comparison:
    """What the table shows.

    Attributes:
        lines: one for each figure, and one for each method without any.
        tests: how many pairs of methods were tested.
        notes: how spaces were chosen, and warnings.
        protocols: of the figures.
    """

    compared: Compared
    lines: list[Line]
    tests: int
    notes: list[str]
    protocols: list[str]


def comparison(folder: str | Path) -> Comparison:
    """The rows of methods and baselines, the best of each column and what is tied with it.

    Raises:
        InputError: the folder can't be read, or a space is named that an encoder doesn't have.
    """
    scores = _Scores(Path(folder))
    lines: dict[str, list[Line]] = {row.name: [] for row in scores.rows}
    protocols: dict[str, None] = {}
    warnings: dict[str, None] = {}
    tests = 0
    for column in scores.columns:
        figures = {row.name: scores.estimate(row, column) for row in scores.rows}
        estimates = {name: estimate for name, estimate in figures.items() if estimate is not None}
        methods = [row.name for row in scores.rows if row.about and row.name in estimates]
        tested = _tested({name: estimates[name] for name in methods})
        tests += sum("p" in result for result in tested.values())
        for name, estimate in estimates.items():
            lines[name].append(_figure(column, estimate) | tested.get(name, {}))
            protocols |= dict.fromkeys(record.protocol for record in estimate.records)
            few = few_people_in(record.note for record in estimate.records)
            warnings |= dict.fromkeys(f"{column.task}, {column.data_set}: {note}" for note in few)
    empty = dict.fromkeys(CSV_COLUMNS, "")
    all_lines = [
        empty | _about(row) | figure for row in scores.rows for figure in lines[row.name] or [{}]
    ]
    notes = [*scores.notes, *warnings]
    return Comparison(scores.compared, all_lines, tests, notes, list(protocols))


def write_validation_scores(folder: Path) -> Path:
    """Write `tuning.json`: the scores of each run on the tasks' validation splits.

    A method's space is the best one on that split. Scores of errors are negative, so that higher
    is better. Tasks without a validation split, such as pairs in folds, are left out.

    Raises:
        InputError: the folder can't be read or written.
    """
    scores = _Scores(folder)
    by_method: dict[str, dict[str, float]] = {}
    for row in scores.rows:
        if row.about is None:
            continue
        by_task = by_method.setdefault(row.name, {})
        # A task's first column counts.
        for column in {c.task: c for c in reversed(scores.columns)}.values():
            values = [_validation(r) for r in scores.shown(row, column)]
            known = [value for value in values if value is not None]
            if known:
                by_task[column.task] = float(np.mean(known))
    path = folder / TUNING_FILE
    replace_file(path, (json.dumps(by_method, indent=2) + "\n").encode())
    return path


class _Scores:
    """The records of a comparison's folder, by row and column.

    Attributes:
        rows: methods in their order, then baselines.
        notes: how spaces were chosen, so far.

    Raises:
        InputError: the folder can't be read, or a space is named for a task that was not scored.
    """

    def __init__(self, folder: Path) -> None:
        self.compared = read_compared(folder)
        self.folder = folder / self.compared.scores
        draws = read_replicates(self.folder / REPLICATES_FILE)
        seeds = {run.encoder: run.seed for method in self.compared.methods for run in method.runs}
        records = []
        self.replicates = {}
        for r in read_records(self.folder / RECORDS_FILE):
            if not r.condition:
                records.append(replace(r, seed=seeds.get(r.encoder, r.seed)))
                if r.name in draws:
                    self.replicates[records[-1].key] = draws[r.name]
        self.columns = _columns(records)
        self.rows = _rows(self.compared, records)
        self.notes: dict[str, None] = {}
        tasks = list(dict.fromkeys(column.task for column in self.columns))
        for method in self.compared.methods:
            for task in method.spaces:
                if task not in tasks:
                    raise InputError(
                        f"spaces.{method.name}.{task}: that task was not scored; there are "
                        + ", ".join(tasks)
                    )

    def shown(self, row: Row, column: Column) -> list[Record]:
        """The records of a row's space in a column."""
        records = row.records_in(column)
        space = self._space(row, column, records)
        return [r for r in records if r.feature_space == space]

    def estimate(self, row: Row, column: Column) -> Estimate | None:
        """The figure of a row in a column, if there is one."""
        records = self.shown(row, column)
        for r in records:
            if r.key not in self.replicates:
                raise InputError(
                    f"{self.folder}: no bootstrap replicates of {r.encoder}, {r.metric}; delete "
                    "the folder and run `ssl-faces compare` again"
                )
        return Estimate.of(records, self.replicates) if records else None

    def _space(self, row: Row, column: Column, records: Sequence[Record]) -> str:
        """The feature space whose figure stands in a column."""
        spaces = list(dict.fromkeys(r.feature_space for r in records))
        fixed = row.about.spaces.get(column.task) if row.about else None
        if fixed is not None and row.records:
            if fixed not in spaces:
                raise InputError(
                    f"spaces.{row.name}.{column.task}: its encoder has no feature space '{fixed}'; "
                    f"there are {', '.join(spaces)}"
                )
            self._note(row, column, f"{fixed}, as the comparison's config says")
            return fixed
        if len(spaces) < 2:
            return spaces[0] if spaces else ""
        # A column without its own choice uses that of its task's first column.
        first = next(c for c in self.columns if c[:2] == column[:2])
        for by in dict.fromkeys((column, first)):
            mine = row.records_in(by)
            by_space = {s: [r for r in mine if r.feature_space == s] for s in spaces}
            on_validation = {s: [_validation(r) for r in those] for s, those in by_space.items()}
            if all(None not in scores and scores for scores in on_validation.values()):
                return max(spaces, key=lambda s: float(np.mean(on_validation[s])))  # type: ignore[arg-type]
        # Whitening sees the images of all folds but its own: its choice is the plain one's.
        vote = _vote({s: [_other_folds(r) for r in those] for s, those in by_space.items()})
        if vote is None:
            self._note(row, column, f"{spaces[0]}, the first space: nothing to choose by")
            return spaces[0]
        space, share = vote
        if share < 1:
            self._note(row, column, f"{space}, chosen by {share:.0%} of the folds")
        return space

    def _note(self, row: Row, column: Column, how: str) -> None:
        self.notes[f"{row.name}, {column.task}: {how}"] = None


def _columns(records: Sequence[Record]) -> list[Column]:
    columns: dict[Column, None] = {}
    for figures in task_figures(records):
        for metric, probe in _METRICS.get(figures.task, ((figures.metrics[0], None),)):
            for r in figures.records:
                # Predicting the mean has the probe `none`.
                if r.metric == metric and probe in (None, r.probe) and r.feature_space:
                    columns[Column(r.task, r.data_set, r.split, r.metric, r.probe, r.unit)] = None
                    break
    return list(columns)


def _rows(compared: Compared, records: Sequence[Record]) -> list[Row]:
    """Methods in their order, then baselines."""
    rows = []
    trained: set[str] = set()
    untrained: dict[str, str] = {}
    for method in compared.methods:
        encoders = {run.encoder for run in method.runs}
        untrained |= {f"{name}, untrained": f"{method.name}, untrained" for name in encoders}
        trained |= encoders
        rows.append(Row(method.name, method, [r for r in records if r.encoder in encoders]))
    for name in dict.fromkeys(r.encoder for r in records):
        # What earlier comparisons in this folder had, and this one has not, is no baseline.
        if name in trained or (name.startswith(f"{compared.folder}/") and name not in untrained):
            continue
        # A method's untrained encoder once, whichever of its runs it is named after.
        if untrained.get(name) not in {row.name for row in rows}:
            title = untrained.get(name, name)
            rows.append(Row(title, None, [r for r in records if r.encoder == name]))
    return rows


def _about(row: Row) -> Line:
    """The cells that all lines of a method or baseline share; cost is of one seed."""
    about = row.about
    line = {"method": row.name, "kind": "baseline" if about is None else "method"}
    if about is None:
        return line
    line["error"] = about.error or ""
    if not about.runs:
        return line
    runs, first = about.runs, about.runs[0]
    share = first.two_image_share
    return line | {
        "seeds": " ".join(str(run.seed) for run in runs),
        "steps": " + ".join(map(str, first.steps)),
        "pairs": str(first.pairs),
        TWO_IMAGES: "" if share is None else f"{100 * share:.0f}",
        "pflop": f"{first.pflop:.4g}",
        # The only cost that differs between seeds: the mean.
        "minutes": f"{sum(run.seconds for run in runs) / len(runs) / 60:.1f}",
        "uses_identity_labels": "yes" if any(r.uses_identity_labels for r in runs) else "no",
    }


def _figure(column: Column, estimate: Estimate) -> Line:
    record, (low, high) = estimate.records[0], estimate.interval
    return {
        **column._asdict(),
        "feature_space": record.feature_space,
        "n": str(record.n),
        "value": _digits(estimate.value),
        "spread": "" if estimate.spread is None else _digits(estimate.spread),
        "low": _digits(low),
        "high": _digits(high),
        "at_grid_edge": "yes" if estimate.at_grid_edge else "",
    }


def _digits(number: float) -> str:
    return f"{number:.10g}"


def _validation(record: Record) -> float | None:
    """The score on the validation split; higher is better."""
    scores = record.hyperparameters.get("validation")
    if not isinstance(scores, dict) or len(scores) != 1:
        return None
    ((name, value),) = scores.items()
    return -float(value) if name.startswith("MAE") else float(value)


def _other_folds(record: Record) -> list[float]:
    """For each fold, the accuracy on the other folds."""
    scores: list[float] = record.hyperparameters.get("other folds", {}).get("accuracy", [])
    return scores


def _vote(by_space: dict[str, list[list[float]]]) -> tuple[str, float] | None:
    """The space that most folds of most seeds choose, none of them by its own pairs; and the share
    of the folds that choose it."""
    try:
        # [spaces, seeds x folds]
        accuracy = np.array([np.concatenate(folds) for folds in by_space.values()])
    except ValueError:
        return None  # no folds, or not the same ones
    if accuracy.size == 0 or accuracy.ndim != 2:
        return None
    votes = np.bincount(accuracy.argmax(axis=0), minlength=len(accuracy))
    best = max(range(len(votes)), key=lambda i: (votes[i], accuracy[i].mean()))
    return list(by_space)[best], float(votes[best] / votes.sum())


def _tested(methods: dict[str, Estimate]) -> dict[str, Line]:
    """Which method of a column is best, and the test of each other against it, by name.

    Methods are not tested if they were not scored on the same draws as the best.
    """
    if len(methods) < 2:
        return {}
    best, gaps = against_best(methods)
    results: dict[str, Line] = {best: {"best": "yes"}}
    for name, (one, p) in gaps.items():
        numbers = {"gap": one.value, "gap_low": one.low, "gap_high": one.high, "p": one.p}
        results[name] = {key: _digits(number) for key, number in numbers.items()}
        results[name] |= {"p_corrected": _digits(p), "tied": "yes" if p >= SIGNIFICANT else ""}
    return results
