"""What tables and curves say, before it is text, a page or a W&B table: made from records only.

A table is of one task, data set and split; a row of it is one feature space (or reference) with
all its metrics and seeds. Records with a `condition` are points of curves and in no table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from linear_probe.records.record import Record
from linear_probe.stats.paired import difference

_Key = TypeVar("_Key", bound=tuple[str, ...])

ORDER = ("expression", "pose", "identity", "attributes")
"""In which order tasks come; those not named here go last."""

EDGE = "* what was chosen (L2, or directions) is at the edge of its grid: better may lie beyond"
SPREAD = (
    "± is the standard deviation over seeds of the mean before it; the interval, over test rows, "
    "is the mean of the seeds' intervals"
)
BEST = (
    "bold: the best of its column, where the paired bootstrap on the same test rows tells it from "
    "the second (every seed's 95 % interval of the difference leaves out 0)"
)


@dataclass(frozen=True)
class Cell:
    """One metric of one row: the record of each seed, in the order of the seeds."""

    records: tuple[Record, ...]

    @property
    def value(self) -> float:
        return float(np.mean([record.value for record in self.records]))

    @property
    def low(self) -> float:
        return float(np.mean([record.low for record in self.records]))

    @property
    def high(self) -> float:
        return float(np.mean([record.high for record in self.records]))

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (of a sample); None of a single one."""
        if len(self.records) < 2:
            return None
        return float(np.std([record.value for record in self.records], ddof=1))

    @property
    def seeds(self) -> list[int]:
        return [record.seed for record in self.records]

    @property
    def at_grid_edge(self) -> bool:
        """Whether any seed's choice is."""
        return any(record.at_grid_edge for record in self.records)

    @property
    def n(self) -> str:
        """How many rows it was measured on; of seeds that differ, from least to most."""
        counts = sorted({record.n for record in self.records})
        return "–".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))

    def __str__(self) -> str:
        mark = "*" if self.at_grid_edge else ""
        spread = "" if self.spread is None else f" ± {self.spread:.2f}"
        return f"{self.value:.2f}{mark}{spread} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Row:
    """One feature space or reference.

    Attributes:
        probe: its probe, where the table tells rows apart by it, else empty.
        cells: by metric.
    """

    encoder: str
    feature_space: str
    probe: str
    cells: dict[str, Cell]

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
class Table:
    """The figures of one task, data set and split.

    Attributes:
        metrics: in the order of the records.
        units: by metric.
    """

    task: str
    data_set: str
    split: str
    metrics: list[str]
    units: dict[str, str]
    rows: list[Row]

    @property
    def title(self) -> str:
        return f"{self.task}: {self.data_set}, {self.split}"

    @property
    def records(self) -> list[Record]:
        return [record for row in self.rows for record in row.records]

    @property
    def several_seeds(self) -> bool:
        return len({record.seed for record in self.records}) > 1

    @property
    def several_probes(self) -> bool:
        return any(row.probe for row in self.rows)

    def headed(self, metric: str) -> str:
        """The metric with its unit, as its column is called."""
        return f"{metric} {self.units[metric]}".strip()

    @property
    def notes(self) -> list[str]:
        """What a reader of the figures must know: protocol, notes, probes, seeds, hardware."""
        records = self.records
        notes = [EDGE] if any(record.at_grid_edge for record in records) else []
        if any(cell.spread is not None for row in self.rows for cell in row.cells.values()):
            notes.append(SPREAD)
        notes += distinct(record.protocol for record in records)
        notes += distinct(record.note for record in records)
        notes += self._probes()
        seeds = sorted({record.seed for record in records})
        seed = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
        return [*notes, "; ".join([seed, *distinct(record.hardware for record in records)])]

    def _probes(self) -> list[str]:
        """Which probe each metric is of, where they are of several and no column says it."""
        shown = {row.probe for row in self.rows}
        metrics_of: dict[str, dict[str, None]] = {}
        for record in self.records:
            if record.feature_space and record.probe not in shown:
                metrics_of.setdefault(record.probe, {})[record.metric] = None
        if not metrics_of or len(metrics_of) + len(shown - {""}) < 2:
            return []
        return ["; ".join(f"{probe}: {', '.join(of)}" for probe, of in metrics_of.items())]


@dataclass(frozen=True)
class Series:
    """One row's points of a curve, by level from low to high."""

    row: Row
    points: dict[float, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """One metric of one task under one condition, such as blur, at several levels.

    Attributes:
        as_it_is: by the name of a series, the figure without the condition, where there is one.
    """

    task: str
    data_set: str
    split: str
    metric: str
    unit: str
    factor: str
    level_unit: str
    series: list[Series]
    as_it_is: dict[str, Cell] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"{self.task}: {self.data_set}, {self.metric} by {self.factor}"

    @property
    def levels(self) -> list[float]:
        return sorted({level for one in self.series for level in one.points})

    @property
    def records(self) -> list[Record]:
        cells = (cell for one in self.series for cell in one.points.values())
        return [record for cell in cells for record in cell.records]

    @property
    def headed(self) -> str:
        """The levels' axis: factor and unit."""
        return f"{self.factor} ({self.level_unit})" if self.level_unit else self.factor


def tables(records: Iterable[Record]) -> list[Table]:
    """The tables of the records without a condition, whatever order runs came in."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        if not record.condition:
            groups.setdefault((record.task, record.data_set, record.split), []).append(record)
    return [
        Table(
            *key,
            list(dict.fromkeys(record.metric for record in groups[key])),
            {record.metric: record.unit for record in groups[key]},
            rows_of(groups[key]),
        )
        for key in _by_task(groups)
    ]


def rows_of(records: Sequence[Record]) -> list[Row]:
    """Records of one table as its rows, in the order of their first record.

    Rows are told apart by probe only where one metric of a feature space has several; what other
    probes give stands in the space's first row.
    """
    probes: dict[tuple[str, str, str], dict[str, None]] = {}
    for r in records:
        probes.setdefault((r.encoder, r.feature_space, r.metric), {})[r.probe] = None
    contested = {probe for of in probes.values() if len(of) > 1 for probe in of}
    first: dict[tuple[str, str], str] = {}
    for r in records:
        if r.probe in contested:
            first.setdefault((r.encoder, r.feature_space), r.probe)
    found: dict[tuple[str, str, str], dict[str, dict[int, Record]]] = {}
    for r in records:
        space = (r.encoder, r.feature_space)
        probe = r.probe if r.probe in contested else first.get(space, "")
        found.setdefault((*space, probe), {}).setdefault(r.metric, {})[r.seed] = r
    return [
        Row(*key, {metric: _cell(of.values()) for metric, of in metrics.items()})
        for key, metrics in found.items()
    ]


def main_curves(of: Sequence[Curve]) -> list[Curve]:
    """The first metric's curve of each task, data set, split and condition."""
    found: dict[tuple[str, ...], Curve] = {}
    for c in of:
        found.setdefault((c.task, c.data_set, c.split, c.factor, c.level_unit), c)
    return list(found.values())


def level_of(record: Record) -> float | None:
    """Where on its curve a record with a condition lies; None where the level is no number."""
    level = record.condition.get("level")
    if isinstance(level, bool) or not isinstance(level, int | float) or not math.isfinite(level):
        return None
    return float(level)


def curves(records: Iterable[Record]) -> list[Curve]:
    """The curves of the records with a condition; those whose level is no number are left out."""
    records = list(records)
    plain: dict[tuple[str, ...], list[Record]] = {}
    groups: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        if not r.condition:
            plain.setdefault(_figure(r), []).append(r)
        elif level_of(r) is not None:
            how = str(r.condition.get("factor", "")), str(r.condition.get("unit", ""))
            groups.setdefault((r.task, r.data_set, r.split, r.metric, r.unit, *how), []).append(r)
    found = []
    for key in _by_task(groups):
        # By probe only where a feature space has several.
        spaces = {(r.encoder, r.feature_space) for r in groups[key]}
        several = len({(r.encoder, r.feature_space, r.probe) for r in groups[key]}) > len(spaces)
        points: dict[tuple[str, ...], dict[float, dict[int, Record]]] = {}
        for r in groups[key]:
            level = level_of(r)
            if level is not None:
                points.setdefault(_figure(r), {}).setdefault(level, {})[r.seed] = r
        series, as_it_is = [], {}
        for figure, levels in points.items():
            encoder, space, probe = figure[:3]
            cells = {level: _cell(levels[level].values()) for level in sorted(levels)}
            series.append(Series(Row(encoder, space, probe if several else "", {}), cells))
            if figure in plain:
                as_it_is[series[-1].row.name] = _cell(plain[figure])
        task, data_set, split, metric, unit, factor, level_unit = key
        found.append(
            Curve(task, data_set, split, metric, unit, factor, level_unit, series, as_it_is)
        )
    return found


def _figure(r: Record) -> tuple[str, ...]:
    return (r.encoder, r.feature_space, r.probe, r.task, r.data_set, r.split, r.metric)


def _cell(records: Iterable[Record]) -> Cell:
    return Cell(tuple(sorted(records, key=lambda record: record.seed)))


def best_rows(table: Table, replicates: Mapping[tuple[str | int, ...], np.ndarray]) -> set[str]:
    """What is best and told apart from the second, as `ROW NAME/METRIC`.

    Args:
        replicates: of the bootstrap, [B], by `Record.key`.
    """
    found = set()
    for metric in table.metrics:
        rows = [row for row in table.rows if metric in row.cells]
        if len(rows) < 2:
            continue
        up = rows[0].cells[metric].records[0].higher_is_better
        rows.sort(key=lambda row: row.cells[metric].value, reverse=up)
        pairs = list(
            zip(rows[0].cells[metric].records, rows[1].cells[metric].records, strict=False)
        )
        same_seeds = rows[0].cells[metric].seeds == rows[1].cells[metric].seeds
        if same_seeds and all(_told_apart(a, b, replicates) for a, b in pairs):
            found.add(f"{rows[0].name}/{metric}")
    return found


def _told_apart(
    better: Record, other: Record, replicates: Mapping[tuple[str | int, ...], np.ndarray]
) -> bool:
    """Whether the paired bootstrap finds `better` better than `other`."""
    of = replicates.get(better.key), replicates.get(other.key)
    if of[0] is None or of[1] is None or of[0].shape != of[1].shape:
        return False
    if not better.sample or better.sample != other.sample:
        return False
    if not np.isfinite(of[0] - of[1]).any():
        return False
    found = difference(better, other, of[0], of[1])
    return found.low > 0 if better.higher_is_better else found.high < 0


def distinct(texts: Iterable[str]) -> list[str]:
    """Those that say something, each once."""
    return [text for text in dict.fromkeys(texts) if text]


def _by_task(groups: Mapping[_Key, object]) -> list[_Key]:
    order = [*ORDER, *dict.fromkeys(key[0] for key in groups)]
    return sorted(groups, key=lambda key: order.index(key[0]))
