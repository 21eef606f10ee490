"""An audit's records as tables and as a page: what compression costs, and which groups it harms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports import plots
from linear_probe.reports.command import find_records
from linear_probe.reports.page import Part, Plot, Section, page
from linear_probe.reports.tables import distinct
from linear_probe.reports.text_tables import Cell, Table, as_csv, as_text
from linear_probe.stats.breakdown import FEWEST
from linear_probe.stats.over_seeds import Estimate, Gap, Replicates, gap, holm
from ssl_faces.common.files import replace_file

AS_IT_IS = "as it is"
"""What tables call the classifier without compression."""

AUDIT_FILE, AUDIT_TABLE, AUDIT_PAGE = "audit.md", "audit.csv", "audit.html"
TITLE = "What compression costs, and whom"
FOOT = (
    "Made from records alone by linear-probe audit. Every figure is of the test part, which was "
    "used neither to train nor to choose."
)

NOTES = (
    "size: of the file compressed by gzip; parameters: those that were trained, and the share that "
    "is not 0; time: median over single faces on one core, by onnxruntime",
    "brackets: 95 % intervals over test rows (bootstrap; people where known) and, with several "
    "seeds, over these too; change: less the classifier as it is, on the same draws; p: that there "
    "is no change, Holm-corrected over the compressions",
)
GROUP_NOTES = (
    "change: of the group's accuracy, in points, on the same draws as the classifier's as it is",
    f"(few): fewer than {FEWEST} test rows, shown and not ranked",
)

Where = tuple[str, str]
"""Grouping and group; for all test rows, a metric and an empty text."""


@dataclass(frozen=True)
class Audited:
    """All figures of one classifier.

    Attributes:
        key: task, data set, split, encoder and feature space.
        metrics: a record of each, in order.
        names: of the compressions in the order of measurement; `AS_IT_IS` is the first.
        figures: by compression and metric.
        groups: accuracy by compression, then by grouping and group.
    """

    key: tuple[str, ...]
    metrics: list[Record]
    names: list[str]
    figures: dict[tuple[str, str], Estimate]
    groups: dict[str, dict[Where, Estimate]]

    @property
    def title(self) -> str:
        task, data_set, _, encoder, space = self.key
        return f"{task}: {data_set}, {encoder}, {space}"

    @property
    def groupings(self) -> dict[str, list[Where]]:
        """The groups of each grouping."""
        by_grouping: dict[str, list[Where]] = {}
        for where in self.groups.get(AS_IT_IS, {}):
            by_grouping.setdefault(where[0], []).append(where)
        return by_grouping

    def records(self, name: str) -> tuple[Record, ...]:
        """Records of a compression's first metric."""
        return self.figures[name, self.metrics[0].metric].records

    def cost(self, name: str, what: str) -> float:
        """Mean over seeds of one of the numbers of `cost`."""
        return float(np.mean([r.hyperparameters["cost"][what] for r in self.records(name)]))


def _few(group: Estimate) -> bool:
    return group.records[0].n < FEWEST


def audited(folder: Path) -> list[Audited]:
    """The classifiers of an audit's folder that have figures without compression.

    Raises:
        InputError: the records can't be read.
    """
    records = read_records(folder / RECORDS_FILE)
    draws = read_replicates(folder / REPLICATES_FILE)
    replicates = {r.key: draws[r.name] for r in records if r.name in draws}
    by_subject: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        key = (r.task, r.data_set, r.split, r.encoder, r.feature_space)
        by_subject.setdefault(key, []).append(r)
    return [
        _audited(key, current, replicates)
        for key, those in by_subject.items()
        if (current := _current(those))
    ]


def _current(records: Sequence[Record]) -> list[Record]:
    """Those with the same classifiers, test images, draws and groupings as the figures without
    compression: a folder may hold older ones."""

    def basis(r: Record) -> tuple[object, ...]:
        return (r.seed, r.sample, r.hyperparameters["classifier"], *r.hyperparameters["groups"])

    now = {basis(r) for r in records if r.probe == AS_IT_IS and not r.condition}
    return [r for r in records if basis(r) in now]


def _audited(key: tuple[str, ...], records: Sequence[Record], replicates: Replicates) -> Audited:
    by_figure: dict[tuple[str, str], list[Record]] = {}
    by_group: dict[tuple[Where, str], list[Record]] = {}
    for r in records:
        if r.condition:
            where = str(r.condition["factor"]), str(r.condition["level"])
            by_group.setdefault((where, r.probe), []).append(r)
        else:
            by_figure.setdefault((r.probe, r.metric), []).append(r)
    groups: dict[str, dict[Where, Estimate]] = {}
    for where, name in sorted(by_group):
        estimate = Estimate.of(by_group[where, name], replicates)
        groups.setdefault(name, {})[where] = estimate
    return Audited(
        key,
        list({r.metric: r for r in records if not r.condition}.values()),
        sorted(dict.fromkeys(name for name, _ in by_figure), key=lambda name: name != AS_IT_IS),
        {figure: Estimate.of(those, replicates) for figure, those in by_figure.items()},
        groups,
    )


def write_audit(folder: Path) -> list[Table]:
    """Write `audit.md`, `audit.csv` and `audit.html` from a folder's records; none is ever
    half-written. The tables of `audit.md`.

    Raises:
        InputError: the records can't be read, or the folder can't be written.
    """
    found = audited(folder)
    by_subject = [[cost_table(one), fairness_table(one), *group_tables(one)] for one in found]
    tables = [table for those in by_subject for table in those]
    text = "\n\n".join(as_text(table, markdown=True) for table in tables) + "\n"
    sections = [_section(one, those) for one, those in zip(found, by_subject, strict=True)]
    shown = page(find_records([folder]), None, 0, sections, TITLE, FOOT)
    for name, content in (
        (AUDIT_FILE, text),
        (AUDIT_TABLE, audit_csv(found)),
        (AUDIT_PAGE, shown),
    ):
        replace_file(folder / name, content.encode(errors="backslashreplace"))
    return tables


def cost_table(one: Audited) -> Table:
    """A row a compression: size, parameters, time, and the figures of all test images."""
    whole = one.cost(AS_IT_IS, "compressed_bytes")
    header = ["compression", "size KiB", "smaller", "parameters", "not 0 %", "ms a face"]
    body: list[list[str]] = []
    for name in one.names:
        size, parameters = one.cost(name, "compressed_bytes"), one.cost(name, "parameters")
        nonzero = 100 * one.cost(name, "nonzero") / parameters
        time = one.cost(name, "milliseconds")
        body.append(
            [
                name,
                Cell(f"{size / 1024:,.1f}", size),
                Cell(f"{whole / size:.2f}x", whole / size),
                Cell(f"{parameters:,.0f}", parameters),
                Cell(f"{nonzero:.1f}", nonzero),
                Cell(f"{time:.2f}", time),
            ]
        )
    records = [record for name in one.names for record in one.records(name)]
    seeds = sorted({record.seed for record in records})
    notes = [f"{one.key[2]}; n {records[0].n:,}; seeds {', '.join(map(str, seeds))}", *NOTES]
    notes += distinct(r.protocol for r in records)
    for name in one.names:
        left = one.records(name)[0].hyperparameters["as_it_was"]
        notes += [f"{name}: unchanged: {', '.join(left)}"] if left else []
    notes += distinct(record.hardware for record in records)
    overall = [r for r in one.metrics if " across " not in r.metric]
    return _with_figures(Table(one.title, header, body, notes), one, overall)


def fairness_table(one: Audited) -> Table:
    """A row a compression: fairness score and gap across each grouping."""
    across = [r for r in one.metrics if " across " in r.metric]
    notes = distinct(r.note for r in across)
    table = Table(f"{one.title}: fairness", ["compression"], [[name] for name in one.names], notes)
    return _with_figures(table, one, across)


def _with_figures(table: Table, one: Audited, metrics: Sequence[Record]) -> Table:
    """The table with two more columns for each metric: its figure, and its change."""
    header, body = list(table.header), [list(cells) for cells in table.body]
    for r in metrics:
        header += [f"{r.metric} {r.unit}".strip(), "change"]
        figures = [one.figures[name, r.metric] for name in one.names]
        changes = [gap(figure, figures[0]) for figure in figures[1:]]
        p_values = holm([change.p for change in changes])
        texts = [""] + [f"{c}, p {p:.3f}" for c, p in zip(changes, p_values, strict=True)]
        for cells, figure, change, text in zip(body, figures, [None, *changes], texts, strict=True):
            cells += [_figure(figure), Cell(text, change.value if change else None)]
    return table._replace(header=header, body=body)


def group_tables(one: Audited) -> list[Table]:
    """For each grouping a row a compression: accuracy of each group, and its change."""
    tables = []
    for grouping, groups in one.groupings.items():
        before = one.groups[AS_IT_IS]
        header = ["compression"]
        for where in groups:
            few = " (few)" if _few(before[where]) else ""
            header += [f"{where[1]}{few}, n {before[where].records[0].n:,}, %", "change"]
        body: list[list[str]] = []
        for name in one.names:
            cells: list[str] = [name]
            for where in groups:
                figure = one.groups[name][where]
                change = "" if name == AS_IT_IS else _change(gap(figure, before[where]))
                cells += [_figure(figure), change]
            body.append(cells)
        notes = GROUP_NOTES if any(_few(before[where]) for where in groups) else GROUP_NOTES[:1]
        tables.append(Table(f"{one.title}: accuracy by {grouping}", header, body, notes))
    return tables


def _figure(estimate: Estimate) -> Cell:
    low, high = estimate.interval
    return Cell(f"{estimate.value:.2f} [{low:.2f}, {high:.2f}]", estimate.value)


def _change(change: Gap) -> Cell:
    return Cell(change, change.value)


def audit_csv(found: Sequence[Audited]) -> str:
    """A row a figure: of each compression every metric, and the accuracy of every group."""
    costs = ("compressed_bytes", "file_bytes", "parameters", "nonzero", "milliseconds")
    header = (
        *("task", "data_set", "split", "encoder", "feature_space", "compression", *costs),
        *("metric", "grouping", "group", "n", "ranked", "seeds", "value", "low", "high"),
        *("change", "change_low", "change_high", "p"),
    )
    rows: list[list[object]] = []
    for one in found:
        metric = one.metrics[0].metric
        for name in one.names:
            start = [*one.key, name, *(f"{one.cost(name, cost):g}" for cost in costs)]
            figures = [
                (
                    (r.metric, "", "", r.n, True),
                    *(one.figures[n, r.metric] for n in (name, AS_IT_IS)),
                )
                for r in one.metrics
            ] + [
                ((metric, *where, g.records[0].n, not _few(g)), g, one.groups[AS_IT_IS][where])
                for where, g in one.groups.get(name, {}).items()
            ]
            for what, figure, before in figures:
                numbers = [figure.value, *figure.interval]
                if name != AS_IT_IS:
                    change = gap(figure, before)
                    numbers += [change.value, change.low, change.high, change.p]
                cells = [f"{number:.6g}" for number in numbers]
                cells += [""] * (7 - len(cells))
                rows.append([*start, *what, len(one.records(name)), *cells])
    return as_csv(header, rows)


def _section(one: Audited, tables: Sequence[Table]) -> Section:
    notes = distinct(note for table in tables[1:] for note in table.notes)
    parts = [
        Part(tables=tables[:1], notes=list(tables[0].notes)),
        Part("Figures with their 95 % intervals", plots=[_sizes(one), *_changes(one)]),
        Part("Groups", tables=tables[1:], notes=notes),
    ]
    return Section(one.key[0], f"{TITLE}: {one.title}", one.key[2], parts)


def _sizes(one: Audited) -> Plot:
    """The first metric by the size: a point a compression."""
    metric = one.metrics[0]
    order = sorted(one.names, key=lambda name: one.cost(name, "compressed_bytes"))
    lines = []
    for name in order:
        figure = one.figures[name, metric.metric]
        low, high = figure.interval
        size = one.cost(name, "compressed_bytes") / 1024
        lines.append(plots.Line(name, [size], [figure.value], [low], [high]))
    title = f"{one.title}, {metric.metric} by size"
    svg = plots.line_plot(title, lines, "KiB, gzip", f"{metric.metric} {metric.unit}")
    return Plot("Accuracy by size", svg, "a point a compression", plots.keys(order))


def _changes(one: Audited) -> list[Plot]:
    """For each grouping the changes of the ranked groups' accuracies, by compression."""
    found = []
    names = [name for name in one.names if name != AS_IT_IS]
    for grouping, groups in one.groupings.items():
        before = one.groups[AS_IT_IS]
        ranked = [where for where in groups if not _few(before[where])]
        if not (names and ranked):
            continue
        rows = []
        for name in names:
            changes = [gap(one.groups[name][where], before[where]) for where in ranked]
            rows.append(
                [
                    plots.Bar(where[1], change.value, change.low, change.high)
                    for where, change in zip(ranked, changes, strict=True)
                ]
            )
        svg = plots.grouped_interval_plot(
            f"{one.title}, change by {grouping}", names, rows, "points"
        )
        legend = plots.keys([where[1] for where in ranked])
        title = f"Change of accuracy by {grouping}"
        found.append(Plot(title, svg, "points, above 0 is better", legend))
    return found
