"""What an audit's records say, as tables and as a page: what compression costs, and whom."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports import plots
from linear_probe.reports.command import find_records
from linear_probe.reports.grids import Grid, GridCell, GridRow, Head
from linear_probe.reports.page import Plot, Section, page
from linear_probe.reports.tables import distinct
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.stats.breakdown import FEWEST
from linear_probe.stats.over_seeds import Gap, OverSeeds, gap, holm
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.files import replace_file

AS_IT_IS = "as it is"
"""What tables call the classifier without compression."""

AUDIT_FILE, AUDIT_TABLE, AUDIT_PAGE = "audit.md", "audit.csv", "audit.html"
TITLE = "What compression costs, and whom"
FOOT = (
    "Made from records alone by linear-probe audit. Every figure is of the test part, which taught "
    "and chose nothing."
)

NOTES = (
    "size: of the file as gzip makes it; parameters: what was learnt, and the share that is not 0; "
    "time: median of single faces on one core, by onnxruntime",
    "brackets: 95 % bootstrap intervals over test rows (people where known), of several seeds over "
    "these too; change: less the classifier as it is, on the same draws; p: that there is no "
    "change, Holm-corrected over the compressions",
)
GROUP_NOTES = (
    "change: of the group's accuracy, in points, on the same draws as the classifier's as it is",
    f"(few): fewer than {FEWEST} test rows, shown and not ranked",
)


class Audited(NamedTuple):
    """All that is of one classifier: rows of one table.

    Attributes:
        of: task, data set, split, encoder and feature space.
        metrics: in order.
        figures: by compression and metric.
        groups: by compression, and by grouping and group.
        records: of the first metric, by compression; `AS_IT_IS` is the first.
    """

    of: tuple[str, ...]
    metrics: list[Record]
    figures: dict[tuple[str, str], OverSeeds]
    groups: dict[str, dict[tuple[str, str], _Group]]
    records: dict[str, list[Record]]

    @property
    def names(self) -> list[str]:
        return list(self.records)

    def change(self, name: str, metric: str) -> Gap:
        """Of a compression's figure to the same of the classifier as it is."""
        return gap(self.figures[name, metric], self.figures[AS_IT_IS, metric])

    def cost(self, name: str, what: str) -> float:
        """Mean over seeds of one of the numbers of `cost`."""
        return float(np.mean([r.hyperparameters["cost"][what] for r in self.records[name]]))

    @property
    def title(self) -> str:
        task, data_set, _, encoder, space = self.of
        return f"{task}: {data_set}, {encoder}, {space}"


@dataclass(frozen=True)
class _Group:
    n: int
    figure: OverSeeds

    @property
    def few(self) -> bool:
        return self.n < FEWEST


def audited(folder: Path) -> list[Audited]:
    """The classifiers of an audit's folder, those whose figures as they are are there.

    Raises:
        InputError: the records can't be read.
    """
    records = read_records(folder / RECORDS_FILE)
    replicates = read_replicates(folder / REPLICATES_FILE)
    by_subject: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        key: tuple[str, ...] = (r.task, r.data_set, r.split, r.encoder, r.feature_space)
        by_subject.setdefault(key, []).append(r)
    found = []
    for key, those in by_subject.items():
        current = _of_the_same(those)
        if current:
            found.append(_audited(key, current, replicates))
    return found


def _of_the_same(records: Sequence[Record]) -> list[Record]:
    """Those of the very classifiers, test pictures, draws and groupings that the figures as they
    are are of: a folder may hold older ones."""

    def what(r: Record) -> tuple[object, ...]:
        return (r.seed, r.sample, r.hyperparameters["classifier"], *r.hyperparameters["groups"])

    now = {what(r) for r in records if r.probe == AS_IT_IS and not r.condition}
    return [r for r in records if what(r) in now]


def _audited(
    key: tuple[str, ...], records: Sequence[Record], replicates: Mapping[str, np.ndarray]
) -> Audited:
    by_figure: dict[tuple[str, str], list[Record]] = {}
    by_group: dict[tuple[str, tuple[str, str]], list[Record]] = {}
    for r in sorted(records, key=lambda r: r.seed):
        if r.condition:
            where = str(r.condition["factor"]), str(r.condition["level"])
            by_group.setdefault((r.probe, where), []).append(r)
        else:
            by_figure.setdefault((r.probe, r.metric), []).append(r)
    metrics = list({r.metric: r for r in records if not r.condition}.values())
    # In the order in which they were measured, the classifier as it is first.
    names = list(dict.fromkeys(r.probe for r in records if not r.condition))
    names.sort(key=lambda name: name != AS_IT_IS)
    groups: dict[str, dict[tuple[str, str], _Group]] = {}
    for (name, where), those in sorted(by_group.items(), key=lambda item: item[0][1]):
        groups.setdefault(name, {})[where] = _Group(those[0].n, _over_seeds(those, replicates))
    return Audited(
        key,
        metrics,
        {where: _over_seeds(those, replicates) for where, those in by_figure.items()},
        groups,
        {name: by_figure[name, metrics[0].metric] for name in names},
    )


def _over_seeds(records: Sequence[Record], replicates: Mapping[str, np.ndarray]) -> OverSeeds:
    values = np.array([record.value for record in records])
    return OverSeeds(values, np.stack([replicates[record.name] for record in records]))


def write_audit(folder: Path) -> list[Table]:
    """Write `audit.md`, `audit.csv` and `audit.html` of what a folder holds; none is ever half-
    written. The tables of `audit.md`.

    Raises:
        InputError: the records can't be read, or the folder can't be written.
    """
    found = audited(folder)
    of_each = [[cost_table(one), fairness_table(one), *group_tables(one)] for one in found]
    tables = [table for those in of_each for table in those]
    text = "\n\n".join(as_text(table, markdown=True) for table in tables) + "\n"
    replace_file(folder / AUDIT_FILE, text.encode(errors="backslashreplace"))
    replace_file(folder / AUDIT_TABLE, as_csv(found).encode(errors="backslashreplace"))
    sections = [_section(one, those) for one, those in zip(found, of_each, strict=True)]
    shown = page(find_records([folder]), None, 0, sections, TITLE, FOOT)
    replace_file(folder / AUDIT_PAGE, shown.encode(errors="backslashreplace"))
    return tables


def cost_table(one: Audited) -> Table:
    """A row a compression: size, parameters, time, and the figures of all test pictures."""
    whole = one.cost(AS_IT_IS, "compressed_bytes")
    header = ["compression", "size KiB", "smaller", "parameters", "not 0 %", "ms a face"]
    body = []
    for name in one.names:
        size, parameters = one.cost(name, "compressed_bytes"), one.cost(name, "parameters")
        body.append(
            [
                name,
                f"{size / 1024:,.1f}",
                f"{whole / size:.2f}x",
                f"{parameters:,.0f}",
                f"{100 * one.cost(name, 'nonzero') / parameters:.1f}",
                f"{one.cost(name, 'milliseconds'):.2f}",
            ]
        )
    records = [record for those in one.records.values() for record in those]
    seeds = sorted({record.seed for record in records})
    notes = [f"{one.of[2]}; n {records[0].n:,}; seeds {', '.join(map(str, seeds))}", *NOTES]
    notes += distinct(r.protocol for r in records)
    for name in one.names:
        left = one.records[name][0].hyperparameters["as_it_was"]
        notes += [f"{name}: left as they were: {', '.join(left)}"] if left else []
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
    """The table with two columns more for each metric: its figure, and its change."""
    header, body = list(table.header), [list(cells) for cells in table.body]
    tested = [name for name in one.names if name != AS_IT_IS]
    for r in metrics:
        header += [f"{r.metric} {r.unit}".strip(), "change"]
        changes = {name: one.change(name, r.metric) for name in tested}
        p = dict(zip(tested, holm([change.p for change in changes.values()]), strict=True))
        for name, cells in zip(one.names, body, strict=True):
            figure = one.figures[name, r.metric]
            cells.append(_with_interval(figure.value, *figure.interval))
            told = ""
            if name != AS_IT_IS:
                change = changes[name]
                told = _with_interval(change.value, change.low, change.high, "+")
                told += f", p {p[name]:.3f}"
            cells.append(told)
    return table._replace(header=header, body=body)


def group_tables(one: Audited) -> list[Table]:
    """For each grouping a row a compression: accuracy of each group, and its change."""
    found = []
    of_first = one.groups[AS_IT_IS]
    for grouping in dict.fromkeys(grouping for grouping, _ in of_first):
        those = {group: g for (g_of, group), g in of_first.items() if g_of == grouping}
        header = ["compression"]
        for group, g in those.items():
            header += [f"{group}{' (few)' if g.few else ''}, n {g.n:,}, %", "change"]
        body = []
        for name in one.names:
            cells = [name]
            for group in those:
                figure = one.groups[name][grouping, group].figure
                cells.append(_with_interval(figure.value, *figure.interval))
                if name == AS_IT_IS:
                    cells.append("")
                    continue
                change = gap(figure, those[group].figure)
                cells.append(_with_interval(change.value, change.low, change.high, "+"))
            body.append(cells)
        notes = [*GROUP_NOTES] if any(g.few for g in those.values()) else [GROUP_NOTES[0]]
        found.append(Table(f"{one.title}: accuracy by {grouping}", header, body, notes))
    return found


def as_csv(found: Sequence[Audited]) -> str:
    """A row a figure: of each compression every metric, and the accuracy of every group."""
    stream = io.StringIO()
    writer = CsvWriter(stream)
    numbers = ("compressed_bytes", "file_bytes", "parameters", "nonzero", "milliseconds")
    writer.writerow(
        [
            *("task", "data_set", "split", "encoder", "feature_space", "compression", *numbers),
            *("metric", "grouping", "group", "n", "ranked", "seeds", "value", "low", "high"),
            *("change", "change_low", "change_high", "p"),
        ]
    )
    for one in found:
        for name in one.names:
            start = [*one.of, name, *(f"{one.cost(name, what):g}" for what in numbers)]
            seeds = len(one.records[name])
            rows = [
                (
                    r.metric,
                    "",
                    "",
                    r.n,
                    True,
                    one.figures[name, r.metric],
                    one.figures[AS_IT_IS, r.metric],
                )
                for r in one.metrics
            ] + [
                (
                    one.metrics[0].metric,
                    *where,
                    g.n,
                    not g.few,
                    g.figure,
                    one.groups[AS_IT_IS][where].figure,
                )
                for where, g in one.groups[name].items()
            ]
            for metric, grouping, group, n, ranked, figure, before in rows:
                told: list[object] = [metric, grouping, group, n, ranked, seeds]
                told += [f"{x:.6g}" for x in (figure.value, *figure.interval)]
                if name != AS_IT_IS:
                    change = gap(figure, before)
                    told += [f"{x:.6g}" for x in (change.value, change.low, change.high, change.p)]
                else:
                    told += [""] * 4
                writer.writerow([*start, *told])
    return stream.getvalue()


def _with_interval(value: float, low: float, high: float, sign: str = "") -> str:
    return f"{value:{sign}.2f} [{low:{sign}.2f}, {high:{sign}.2f}]"


def _section(one: Audited, tables: Sequence[Table]) -> Section:
    section = Section(one.of[0], f"{TITLE}: {one.title}", one.of[2])
    section.table = _grid(tables[0])
    section.notes = list(tables[0].notes)
    section.groups = [_grid(table) for table in tables[1:]]
    section.group_notes = distinct(note for table in tables[1:] for note in table.notes)
    section.plots = [_sizes(one), *_changes(one)]
    return section


def _grid(table: Table) -> Grid:
    header = [Head(table.header[0]), *(Head(name, True) for name in table.header[1:])]
    rows = [
        GridRow([GridCell(cells[0]), *(_cell(text) for text in cells[1:])]) for cells in table.body
    ]
    return Grid(table.title, header, rows, "sortable")


def _cell(text: str) -> GridCell:
    value, bracket, interval = text.partition(" [")
    number = value.replace(",", "").removesuffix("x")
    try:
        by = float(number)
    except ValueError:
        by = None
    return GridCell(value, "number", by, f"[{interval}" if bracket else "")


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
    svg = plots.line_plot(
        f"{one.title}, {metric.metric} by size",
        lines,
        "KiB, gzip",
        f"{metric.metric} {metric.unit}",
    )
    return Plot("Accuracy by size", svg, "a point a compression", plots.keys(order))


def _changes(one: Audited) -> list[Plot]:
    """Of each grouping how the ranked groups' accuracies change, compression by compression."""
    found = []
    of_first = one.groups[AS_IT_IS]
    names = [name for name in one.names if name != AS_IT_IS]
    for grouping in dict.fromkeys(grouping for grouping, _ in of_first):
        ranked = [w for w, g in of_first.items() if w[0] == grouping and not g.few]
        rows = []
        for name in names:
            changes = [gap(one.groups[name][w].figure, of_first[w].figure) for w in ranked]
            rows.append(
                [
                    plots.Bar(w[1], change.value, change.low, change.high)
                    for w, change in zip(ranked, changes, strict=True)
                ]
            )
        if names and ranked:
            title = f"{one.title}, change by {grouping}"
            svg = plots.grouped_interval_plot(title, names, rows, "points")
            found.append(
                Plot(
                    f"Change of accuracy by {grouping}",
                    svg,
                    "points, above 0 is better",
                    plots.keys([w[1] for w in ranked]),
                )
            )
    return found
