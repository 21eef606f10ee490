"""One table of methods that were trained with the same budget, made from their records.

`ssl-faces compare` trains and scores them, and leaves `comparison.json` in its folder: which runs
there are, and what they cost. A row is a method with all its seeds; a task's figures are of the
feature space that is best on the validation split, or that `comparison.json` names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linear_probe.records.collect import Replicates
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports.compared import Compared, Trained, read_compared
from linear_probe.reports.tables import task_figures
from linear_probe.stats.over_seeds import Estimate, gap, holm
from linear_probe.tasks.identity import WHITENED
from ssl_faces import InputError
from ssl_faces.common.files import replace_file

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

TUNING_FILE = "tuning.json"

SIGNIFICANT = 0.05
"""Corrected p-value below which two methods are significantly different."""


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
class Row:
    """A method or a baseline with its records; `about` is None for a baseline."""

    name: str
    about: Trained | None
    records: list[Record]

    def seed(self, record: Record) -> int:
        """The training seed of a record; for baselines the probe's."""
        runs = self.about.runs if self.about else []
        return next((run.seed for run in runs if run.encoder == record.encoder), record.seed)


Line = dict[str, str]
"""Cells by `CSV_COLUMNS`."""


@dataclass(frozen=True)
class Comparison:
    """What the table shows.

    Attributes:
        lines: one for each figure, and one for each method without any.
        tests: how many pairs of methods were tested.
        notes: how spaces were chosen.
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
    lines: dict[str, list[Line]] = {row.name: [] for row in rows}
    protocols: dict[str, None] = {}
    tests = 0
    for column in columns:
        estimates: dict[str, Estimate] = {}
        for row in rows:
            space = _space(row, column, columns, notes)
            mine = [r for r in row.records if _in(r, column) and r.feature_space == space]
            if mine:
                estimates[row.name] = _estimate(row, mine, replicates, scores)
        tested = _tested(
            column, {r.name: estimates[r.name] for r in rows if r.about and r.name in estimates}
        )
        tests += sum("p" in result for result in tested.values())
        for name, estimate in estimates.items():
            lines[name].append(_figure(column, estimate) | tested.get(name, {}))
            protocols |= dict.fromkeys(record.protocol for record in estimate.records)
    empty = dict.fromkeys(CSV_COLUMNS, "")
    whole = [
        empty | _about(row) | figure
        for row in rows
        for figure in lines[row.name] or [dict[str, str]()]
    ]
    return Comparison(compared, whole, tests, list(notes), list(protocols))


def write_validation_scores(folder: Path) -> Path:
    """Write `tuning.json`: the scores of each run on the tasks' validation splits.

    A method's space is the best one on that split. Scores of errors are negative, so that higher
    is better. Tasks without a validation split, such as pairs in folds, are left out.

    Raises:
        InputError: the folder can't be read or written.
    """
    compared = read_compared(folder)
    records = [r for r in read_records(folder / compared.scores / RECORDS_FILE) if not r.condition]
    columns = _columns(records)
    scores: dict[str, dict[str, float]] = {}
    for row in _rows(compared, records):
        if row.about is None:
            continue
        scores[row.name] = {}
        for column in {c.task: c for c in reversed(columns)}.values():
            space = _space(row, column, columns, {})
            mine = [r for r in row.records if _in(r, column) and r.feature_space == space]
            values = [value for r in mine if (value := _validation(r)) is not None]
            if values:
                scores[row.name][column.task] = float(np.mean(values))
    path = folder / TUNING_FILE
    replace_file(path, (json.dumps(scores, indent=2) + "\n").encode())
    return path


def _about(row: Row) -> Line:
    """The cells that all lines of a method or baseline share; cost is of one seed."""
    about = row.about
    line = {"method": row.name, "kind": "baseline" if about is None else "method"}
    if about is None:
        return line
    line["error"] = about.error or ""
    if not about.runs:
        return line
    runs = about.runs
    return line | {
        "seeds": " ".join(str(run.seed) for run in runs),
        "steps": " + ".join(map(str, runs[0].steps)),
        "pairs": str(runs[0].pairs),
        TWO_IMAGES: _percent(runs[0].two_image_share),
        "pflop": f"{runs[0].pflop:.4g}",
        # The only cost that differs between seeds: the mean.
        "minutes": f"{sum(run.seconds for run in runs) / len(runs) / 60:.1f}",
        "uses_identity_labels": "yes" if any(r.uses_identity_labels for r in runs) else "no",
    }


def _figure(column: Column, estimate: Estimate) -> Line:
    record = estimate.records[0]
    low, high = estimate.interval
    spread = estimate.spread
    return {
        **{name: getattr(column, name) for name in ("task", "data_set", "split", "metric")},
        **{"probe": column.probe, "unit": column.unit, "feature_space": record.feature_space},
        "n": str(record.n),
        "value": _digits(estimate.value),
        "spread": "" if spread is None else _digits(spread),
        "low": _digits(low),
        "high": _digits(high),
        "at_grid_edge": "yes" if estimate.at_grid_edge else "",
    }


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}"


def _digits(number: float) -> str:
    return f"{number:.10g}"


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
    # A column without its own choice uses that of its task's first column.
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


def _tested(column: Column, methods: dict[str, Estimate]) -> dict[str, Line]:
    """Which method of a column is best, and the test of each other against it, by name.

    Methods are not tested if they were not scored on the same draws as the best.
    """
    if len(methods) < 2:
        return {}
    sign = 1 if column.higher_is_better else -1
    best = max(methods, key=lambda name: sign * methods[name].value)
    gaps = {
        name: gap(estimate, methods[best])
        for name, estimate in methods.items()
        if name != best and estimate.comparable(methods[best])
    }
    corrected = holm([one.p for one in gaps.values()])
    results: dict[str, Line] = {best: {"best": "yes"}}
    for (name, one), p in zip(gaps.items(), corrected, strict=True):
        numbers = {"gap": one.value, "gap_low": one.low, "gap_high": one.high, "p": one.p}
        results[name] = {key: _digits(number) for key, number in numbers.items()}
        results[name] |= {"p_corrected": _digits(p), "tied": "yes" if p >= SIGNIFICANT else ""}
    return results
