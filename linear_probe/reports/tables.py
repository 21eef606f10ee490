"""From records to tables: group the frame of records by task, pivot it, and show it as a `Table`.

Everything is made from records only. One table is of one task, data set and split; a row of it is
one feature space (or reference) with all its metrics and seeds. Records with a `condition` are
points of curves and in no other table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from linear_probe.records.collect import Replicates
from linear_probe.records.frame import frame
from linear_probe.records.published import published, published_notes
from linear_probe.records.record import Record
from linear_probe.reports.text_tables import Cell, Table
from linear_probe.sources.overlap import overlap_in_words
from linear_probe.stats.over_seeds import Estimate, against_best, gap
from linear_probe.stats.paired import USUAL_PROBES
from linear_probe.stats.verdicts import LEVEL

ORDER = ("expression", "pose", "identity", "attributes")
"""The order of tasks; the others come last."""

EDGE = "* the chosen value (L2, or directions) lies at the edge of its grid"
SPREAD = (
    "± is the standard deviation over seeds of the mean before it; the 95 % interval is over test "
    "rows (bootstrap) and seeds (Student's t) together"
)
NO_INTERVAL = (
    "no interval: the bootstrap's replicates of these seeds are not beside the records, and an "
    "interval over seeds needs them"
)
BEST = (
    "bold: the best of a column; ≈: not significantly different from it (paired bootstrap on the "
    f"same test rows and seeds, p >= {LEVEL:g} after Holm's correction within the column)"
)
Mark = Literal["best", "tied"]
"""What a cell is among the cells of its column."""

_SPLIT = ["task", "data_set", "split"]


@dataclass(frozen=True)
class Row:
    """One feature space or reference.

    Attributes:
        probe: its probe, if rows differ by it, else empty.
        cells: by metric, or by level of a curve.
    """

    encoder: str
    feature_space: str
    probe: str
    cells: dict[Any, Estimate]

    @property
    def name(self) -> str:
        return " · ".join(part for part in (self.encoder, self.feature_space, self.probe) if part)

    @property
    def records(self) -> list[Record]:
        return [record for cell in self.cells.values() for record in cell.records]

    @property
    def seeds(self) -> list[int]:
        return sorted({record.seed for record in self.records})

    @property
    def n(self) -> str:
        return next(iter(self.cells.values())).n


@dataclass(frozen=True)
class TaskFigures:
    """The figures of one task, data set and split.

    Attributes:
        units: by metric, in the order of the records.
    """

    task: str
    data_set: str
    split: str
    units: dict[str, str]
    rows: list[Row]

    @property
    def title(self) -> str:
        return f"{self.task}: {self.data_set}, {self.split}"

    @property
    def metrics(self) -> list[str]:
        return list(self.units)

    @property
    def records(self) -> list[Record]:
        return [record for row in self.rows for record in row.records]

    def heading(self, metric: str) -> str:
        """The metric with its unit."""
        return f"{metric} {self.units[metric]}".strip()

    @property
    def notes(self) -> list[str]:
        """What readers must know: protocol, notes, probes, seeds, hardware."""
        records = self.records
        notes = [EDGE] if any(record.at_grid_edge for record in records) else []
        cells = [cell for row in self.rows for cell in row.cells.values()]
        if any(cell.spread is not None for cell in cells):
            notes.append(SPREAD)
        if not all(cell.has_interval for cell in cells):
            notes.append(NO_INTERVAL)
        notes += distinct(record.protocol for record in records)
        notes += distinct(record.note for record in records)
        notes += distinct(
            overlap_in_words(record.encoder, record.data_set, record.overlap)
            for record in records
            if record.overlap
        )
        notes += self._probes()
        return [*notes, "; ".join([_seeds(records), *distinct(r.hardware for r in records)])]

    def _probes(self) -> list[str]:
        """The probe of each metric, if there are several and no column says it."""
        in_rows = {row.probe for row in self.rows}
        metrics_of: dict[str, dict[str, None]] = {}
        for record in self.records:
            if record.feature_space and record.probe not in in_rows:
                metrics_of.setdefault(record.probe, {})[record.metric] = None
        if not metrics_of or len(metrics_of) + len(in_rows - {""}) < 2:
            return []
        return ["; ".join(f"{probe}: {', '.join(of)}" for probe, of in metrics_of.items())]

    def marks(self) -> dict[tuple[str, str], Mark]:
        """By row name and metric: the best of each metric, and what is tied with it."""
        marks: dict[tuple[str, str], Mark] = {}
        for metric in self.metrics:
            cells = {row.name: row.cells[metric] for row in self.rows if metric in row.cells}
            best, gaps = against_best(cells, same_seeds=True)
            if gaps:
                marks[best, metric] = "best"
            for name, (_, p) in gaps.items():
                if p >= LEVEL:
                    marks[name, metric] = "tied"
        return marks


@dataclass(frozen=True)
class Curve:
    """One metric of one task under one condition, such as blur, at several levels.

    Attributes:
        rows: whose cells are by level, from low to high.
        unconditioned: by the name of a row, the figure without the condition, if there is one.
    """

    task: str
    data_set: str
    split: str
    metric: str
    unit: str
    factor: str
    level_unit: str
    rows: list[Row]
    unconditioned: dict[str, Estimate]

    @property
    def title(self) -> str:
        return f"{self.task}: {self.data_set}, {self.metric} by {self.factor}"

    @property
    def levels(self) -> list[float]:
        return sorted({level for row in self.rows for level in row.cells})

    @property
    def heading(self) -> str:
        """The levels' axis: factor and unit."""
        return f"{self.factor} ({self.level_unit})" if self.level_unit else self.factor

    @property
    def notes(self) -> list[str]:
        records = [record for row in self.rows for record in row.records]
        return distinct(r.protocol for r in records) + distinct(r.note for r in records)


def task_figures(
    records: Iterable[Record], replicates: Replicates | None = None
) -> list[TaskFigures]:
    """The figures of the records without a condition, by task, data set and split."""
    plain = frame(r for r in records if not r.condition)
    found = []
    for (task, data_set, split), group in _by_task(plain, _SPLIT):
        units = dict(zip(group["metric"], group["unit"], strict=True))
        rows = _pivot(group.assign(row_probe=_row_probes(group)), "metric", replicates)
        found.append(TaskFigures(task, data_set, split, units, rows))
    return found


def curves(records: Iterable[Record], replicates: Replicates | None = None) -> list[Curve]:
    """The curves of the records with a condition; those whose level is no number are left out."""
    table = frame(records)
    points = table["condition"].astype(bool)
    plain, conditioned = table[~points], table[points & table["level"].notna()]
    found = []
    keys = [*_SPLIT, "metric", "unit", "factor", "level_unit"]
    for key, group in _by_task(conditioned, keys):
        task, data_set, split, metric, unit, factor, level_unit = key
        probes = group[["encoder", "feature_space", "probe"]].drop_duplicates()
        # By probe only if a feature space has several.
        by_probe = probes.duplicated(["encoder", "feature_space"]).any()
        same = (plain[[*_SPLIT, "metric"]] == [task, data_set, split, metric]).all(axis=1)
        rows, whole = (
            _pivot(t.assign(row_probe=t["probe"] if by_probe else ""), column, replicates)
            for t, column in ((group, "level"), (plain[same].merge(probes), "metric"))
        )
        rows = [replace(row, cells=dict(sorted(row.cells.items()))) for row in rows]
        unconditioned = {row.name: row.cells[metric] for row in whole}
        where = (task, data_set, split, metric)
        found.append(Curve(*where, unit, factor, level_unit, rows, unconditioned))
    return found


def main_curves(all_curves: Sequence[Curve]) -> list[Curve]:
    """The first metric's curve of each task, data set, split and condition."""
    first: dict[tuple[str, ...], Curve] = {}
    for c in all_curves:
        first.setdefault((c.task, c.data_set, c.split, c.factor, c.level_unit), c)
    return list(first.values())


def _by_task(table: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    groups = list(table.groupby(keys, sort=False))
    order = [*ORDER, *dict.fromkeys(key[0] for key, _ in groups)]
    return sorted(groups, key=lambda group: order.index(group[0][0]))


def _pivot(table: pd.DataFrame, columns: str, replicates: Replicates | None) -> list[Row]:
    """Rows by encoder, feature space and `row_probe`, with an estimate over seeds in each cell."""
    rows: dict[tuple[str, str, str], dict[Any, Estimate]] = {}
    by = ["encoder", "feature_space", "row_probe", columns]
    for (*row, column), group in table.groupby(by, sort=False)["record"]:
        encoder, space, probe = row
        rows.setdefault((encoder, space, probe), {})[column] = Estimate.of(group, replicates)
    return [Row(*key, cells) for key, cells in rows.items()]


def _row_probes(table: pd.DataFrame) -> pd.Series:
    """The probe that names each record's row.

    Rows differ by probe if one metric of a feature space has several probes, or if it is a head on
    an encoder; the figures of other probes stand in the space's first row.
    """
    space = ["encoder", "feature_space"]
    several = table.groupby([*space, "metric"])["probe"].transform("nunique") > 1
    heads = table["record"].map(_is_head_on_encoder)
    named = table["probe"].isin(table.loc[several, "probe"]) | heads
    first = table["probe"].where(named).groupby([table[key] for key in space]).transform("first")
    return table["probe"].where(named, first).fillna("")


def _is_head_on_encoder(record: Record) -> bool:
    return record.supervised and record.probe not in (record.encoder, *USUAL_PROBES)


def better(one: Estimate, other: Estimate) -> bool:
    """Whether `one` is significantly better than `other`, on the same draws and seeds."""
    if not one.comparable(other) or one.seeds != other.seeds:
        return False
    difference = gap(one, other)
    up = one.records[0].higher_is_better
    return difference.low > 0 if up else difference.high < 0


def estimate_cell(estimate: Estimate | None, mark: Mark | None = None) -> Cell:
    """An estimate as a table shows it."""
    if estimate is None:
        return Cell("-")
    record = estimate.records[0]
    hint = f"{record.probe}; n {estimate.n}; {record.metric}"
    text = f"{estimate} ≈" if mark == "tied" else estimate
    return Cell(text, estimate.value, best=mark == "best", hint=hint)


def figures_table(
    figures: TaskFigures,
    row_kind: Callable[[Record], str] = lambda record: "",
    mark_best: bool = True,
) -> Table:
    """A row a feature space or reference, a column a metric; published figures below the rows.

    Args:
        row_kind: `Cell.kind` of a row, by its first record.
        mark_best: set in bold the best of each column, and mark what is tied with it.
    """
    marks = figures.marks() if mark_best else {}
    probes = any(row.probe for row in figures.rows)
    seeds = len({record.seed for record in figures.records}) > 1
    header = ["encoder", "features", *(["probe"] if probes else [])]
    header += [*map(figures.heading, figures.metrics), *(["seeds"] if seeds else []), "n"]
    body: list[list[str]] = []
    for row in figures.rows:
        cells = [Cell(row.encoder, kind=row_kind(row.records[0])), row.feature_space or "-"]
        cells += [row.probe] if probes else []
        for metric in figures.metrics:
            cells.append(estimate_cell(row.cells.get(metric), marks.get((row.name, metric))))
        cells += [", ".join(map(str, row.seeds))] if seeds else []
        body.append([*cells, Cell(row.n, row.records[0].n)])
    # In a column of their own: measured by other rules, on other data.
    kinds = {record.supervised for record in figures.records if record.feature_space}
    reported = published(figures.data_set, figures.metrics, kinds)
    if reported:
        header.append("published †")
        body = [[*cells, ""] for cells in body]
        for theirs in reported:
            values = ", ".join(f"{metric} {value:.2f}" for metric, value in theirs.values.items())
            blank = [""] * (len(header) - 2)
            body.append([Cell(theirs.name, kind="published"), *blank, values])
    notes = [*([BEST] if marks else []), *figures.notes, *published_notes(reported)]
    return Table(figures.title, header, body, notes)


def curve_table(curve: Curve) -> Table:
    """A row a feature space, a column a level, and the figure without the condition."""
    header = [curve.heading, *(f"{level:g}" for level in curve.levels)]
    header += ["as it is"] if curve.unconditioned else []
    body: list[list[str]] = []
    for row in curve.rows:
        cells = [row.name, *(estimate_cell(row.cells.get(level)) for level in curve.levels)]
        if curve.unconditioned:
            cells.append(estimate_cell(curve.unconditioned.get(row.name)))
        body.append(cells)
    return Table(f"{curve.title}, {curve.split}, {curve.unit}", header, body, curve.notes)


def validation_table(figures: TaskFigures) -> Table:
    """What was chosen by, on the validation split; without columns if nothing was."""
    title = f"{figures.task}: {figures.data_set}, validation split of the training part"
    # By row, then by what it was chosen by and for which metric: a value of each seed.
    rows: dict[tuple[str, ...], dict[tuple[str, str], list[float]]] = {}
    for row in figures.rows:
        for metric, cell in row.cells.items():
            for record in cell.records:
                for name, value in _validation(record).items():
                    chosen = rows.setdefault((row.encoder, row.feature_space, row.probe), {})
                    chosen.setdefault((name, metric), []).append(value)
    if not rows:
        return Table(title, [], [], ["nothing is chosen on a validation split here"])
    columns: dict[tuple[str, str], list[list[float] | None]] = {}
    for column in dict.fromkeys(column for chosen in rows.values() for column in chosen):
        values = [chosen.get(column) for chosen in rows.values()]
        # One choice serves several metrics: shown once.
        if not any(c[0] == column[0] and v == values for c, v in columns.items()):
            columns[column] = values
    names = [name for name, _ in columns]
    probes = any(row.probe for row in figures.rows)
    header = ["encoder", "features", *(["probe"] if probes else [])]
    header += [n if names.count(n) == 1 else f"{n}, for {metric}" for n, metric in columns]
    body = [
        [
            *(encoder, space or "-", *([probe or "-"] if probes else [])),
            *(_mean_and_spread(values[i]) for values in columns.values()),
        ]
        for i, (encoder, space, probe) in enumerate(rows)
    ]
    note = _seeds(figures.records)
    note += ": mean ± standard deviation" if note.startswith("seeds") else ""
    return Table(title, header, body, [note])


def _validation(record: Record) -> dict[str, float]:
    scores = record.hyperparameters.get("validation")
    items = scores.items() if isinstance(scores, dict) else ()
    return {k: float(v) for k, v in items if isinstance(v, int | float)}


def _mean_and_spread(values: list[float] | None) -> str:
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def _seeds(records: Iterable[Record]) -> str:
    seeds = sorted({record.seed for record in records})
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def distinct(texts: Iterable[str]) -> list[str]:
    """Those that are not empty, each once."""
    return [text for text in dict.fromkeys(texts) if text]
