"""An audit's records as tables and as a page: what compression costs, and which groups it harms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from linear_probe.records.collect import Replicates, find_records
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports import plots
from linear_probe.reports.page import page
from linear_probe.reports.parts import Part, Plot, Section
from linear_probe.reports.tables import distinct
from linear_probe.reports.text_tables import Cell, Table, as_csv, as_text
from linear_probe.stats.breakdown import FEWEST
from linear_probe.stats.over_seeds import Estimate, Gap, gap, holm
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

Key = tuple[str, str, str]
"""Metric, grouping and group of a figure; of all test images the last two are empty."""


@dataclass(frozen=True)
class Audited:
    """All figures of one classifier.

    Attributes:
        of: task, data set, split, encoder and feature space.
        names: of the compressions in the order of measurement; `AS_IT_IS` is the first.
        keys: of all test images in the order of measurement, then of the groups by name.
        figures: by compression and key.
    """

    of: tuple[str, ...]
    names: list[str]
    keys: list[Key]
    figures: dict[tuple[str, Key], Estimate]

    @property
    def title(self) -> str:
        task, data_set, _, encoder, space = self.of
        return f"{task}: {data_set}, {encoder}, {space}"

    @property
    def metrics(self) -> list[Key]:
        """The keys of all test images."""
        return [key for key in self.keys if not key[1]]

    @property
    def groupings(self) -> dict[str, list[Key]]:
        """The keys of the groups of each grouping."""
        by_grouping: dict[str, list[Key]] = {}
        for key in self.keys:
            if key[1]:
                by_grouping.setdefault(key[1], []).append(key)
        return by_grouping

    def first(self, key: Key) -> Record:
        """A record of a figure without compression: its unit, number of rows and note."""
        return self.figures[AS_IT_IS, key].records[0]

    def few(self, key: Key) -> bool:
        return self.first(key).n < FEWEST

    def change(self, name: str, key: Key) -> Gap:
        """A compression's figure less the same without compression."""
        return gap(self.figures[name, key], self.figures[AS_IT_IS, key])

    def records(self, name: str) -> tuple[Record, ...]:
        """Records of a compression's first metric."""
        return self.figures[name, self.keys[0]].records

    def cost(self, name: str, what: str) -> float:
        """Mean over seeds of one of the numbers of `cost`."""
        return float(np.mean([r.hyperparameters["cost"][what] for r in self.records(name)]))


def audited(folder: Path) -> list[Audited]:
    """The classifiers of an audit's folder that have figures without compression; InputError if the
    records can't be read."""
    records = read_records(folder / RECORDS_FILE)
    draws = read_replicates(folder / REPLICATES_FILE)
    replicates = {r.key: draws[r.name] for r in records if r.name in draws}
    by_subject: dict[tuple[str, ...], list[Record]] = {}
    for r in records:
        of = (r.task, r.data_set, r.split, r.encoder, r.feature_space)
        by_subject.setdefault(of, []).append(r)
    return [
        _audited(of, current, replicates)
        for of, those in by_subject.items()
        if (current := _current(those))
    ]


def _current(records: Sequence[Record]) -> list[Record]:
    """Those with the same classifiers, test images, draws and groupings as the figures without
    compression: a folder may hold older ones."""

    def basis(r: Record) -> tuple[object, ...]:
        return (r.seed, r.sample, r.hyperparameters["classifier"], *r.hyperparameters["groups"])

    now = {basis(r) for r in records if r.probe == AS_IT_IS and not r.condition}
    return [r for r in records if basis(r) in now]


def _audited(of: tuple[str, ...], records: Sequence[Record], replicates: Replicates) -> Audited:
    by_figure: dict[tuple[str, Key], list[Record]] = {}
    for r in records:
        where = (str(r.condition.get("factor", "")), str(r.condition.get("level", "")))
        by_figure.setdefault((r.probe, (r.metric, *where)), []).append(r)
    keys = dict.fromkeys(key for _, key in by_figure)
    names = dict.fromkeys(name for name, key in by_figure if not key[1])
    return Audited(
        of,
        sorted(names, key=lambda name: name != AS_IT_IS),
        sorted(keys, key=lambda key: key[1:]),
        {figure: Estimate.of(those, replicates) for figure, those in by_figure.items()},
    )


def write_audit(folder: Path) -> list[Table]:
    """Write `audit.md`, `audit.csv` and `audit.html` from a folder's records; the tables of
    `audit.md`. Raises InputError: the records can't be read, or the folder can't be written."""
    subjects = audited(folder)
    by_subject = [
        [cost_table(subject), fairness_table(subject), *group_tables(subject)]
        for subject in subjects
    ]
    tables = [table for those in by_subject for table in those]
    text = "\n\n".join(as_text(table, markdown=True) for table in tables) + "\n"
    sections = [
        _section(subject, those) for subject, those in zip(subjects, by_subject, strict=True)
    ]
    html = page(find_records([folder]), None, 0, sections, TITLE, FOOT)
    for name, content in (
        (AUDIT_FILE, text),
        (AUDIT_TABLE, audit_csv(subjects)),
        (AUDIT_PAGE, html),
    ):
        replace_file(folder / name, content.encode(errors="backslashreplace"))
    return tables


def cost_table(subject: Audited) -> Table:
    """A row a compression: size, parameters, time, and the figures of all test images."""
    whole = subject.cost(AS_IT_IS, "compressed_bytes")
    header = ["compression", "size KiB", "smaller", "parameters", "not 0 %", "ms a face"]
    body: list[list[str]] = []
    for name in subject.names:
        size, parameters = subject.cost(name, "compressed_bytes"), subject.cost(name, "parameters")
        nonzero = 100 * subject.cost(name, "nonzero") / parameters
        time = subject.cost(name, "milliseconds")
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
    records = [record for name in subject.names for record in subject.records(name)]
    seeds = sorted({record.seed for record in records})
    notes = [f"{subject.of[2]}; n {records[0].n:,}; seeds {', '.join(map(str, seeds))}", *NOTES]
    notes += distinct(r.protocol for r in records)
    for name in subject.names:
        left = subject.records(name)[0].hyperparameters["as_it_was"]
        notes += [f"{name}: unchanged: {', '.join(left)}"] if left else []
    notes += distinct(record.hardware for record in records)
    overall = [key for key in subject.metrics if " across " not in key[0]]
    return _with_figures(Table(subject.title, header, body, notes), subject, overall)


def fairness_table(subject: Audited) -> Table:
    """A row a compression: fairness score and gap across each grouping."""
    across = [key for key in subject.metrics if " across " in key[0]]
    notes = distinct(subject.first(key).note for key in across)
    return _with_figures(
        _names_table(f"{subject.title}: fairness", subject, notes), subject, across
    )


def group_tables(subject: Audited) -> list[Table]:
    """For each grouping a row a compression: accuracy of each group, and its change."""
    tables = []
    for grouping, keys in subject.groupings.items():
        notes = GROUP_NOTES if any(map(subject.few, keys)) else GROUP_NOTES[:1]
        table = _names_table(f"{subject.title}: accuracy by {grouping}", subject, notes)
        tables.append(_with_figures(table, subject, keys, tested=False))
    return tables


def _names_table(title: str, subject: Audited, notes: Sequence[str]) -> Table:
    return Table(title, ["compression"], [[name] for name in subject.names], notes)


def _with_figures(
    table: Table, subject: Audited, keys: Sequence[Key], tested: bool = True
) -> Table:
    """The table with two more columns for each key: its figure, and its change. `tested`: give the
    changes' p-values, corrected over the compressions."""
    header, body = list(table.header), [list(cells) for cells in table.body]
    for key in keys:
        record = subject.first(key)
        few = " (few)" if subject.few(key) else ""
        group = f"{key[2]}{few}, n {record.n:,}, %"
        header += [group if key[1] else f"{key[0]} {record.unit}".strip(), "change"]
        changes = {name: subject.change(name, key) for name in subject.names[1:]}
        p_values = holm([change.p for change in changes.values()])
        p_by_name = dict(zip(changes, p_values, strict=True))
        for name, cells in zip(subject.names, body, strict=True):
            figure, change = subject.figures[name, key], changes.get(name)
            low, high = figure.interval
            cells.append(Cell(f"{figure.value:.2f} [{low:.2f}, {high:.2f}]", figure.value))
            p = f", p {p_by_name[name]:.3f}" if change and tested else ""
            cells.append(Cell(f"{change}{p}", change.value) if change else "")
    return table._replace(header=header, body=body)


def audit_csv(subjects: Sequence[Audited]) -> str:
    """A row a figure: of each compression every metric, and the accuracy of every group."""
    costs = ("compressed_bytes", "file_bytes", "parameters", "nonzero", "milliseconds")
    header = (
        *("task", "data_set", "split", "encoder", "feature_space", "compression", *costs),
        *("metric", "grouping", "group", "n", "ranked", "seeds", "value", "low", "high"),
        *("change", "change_low", "change_high", "p"),
    )
    rows: list[list[object]] = []
    for subject in subjects:
        for name in subject.names:
            start = [*subject.of, name, *(f"{subject.cost(name, cost):g}" for cost in costs)]
            for key in subject.keys:
                if (name, key) not in subject.figures:
                    continue
                figure = subject.figures[name, key]
                numbers = [figure.value, *figure.interval]
                if name != AS_IT_IS:
                    numbers += vars(subject.change(name, key)).values()
                n = figure.records[0].n
                about = [*key, n, not (key[1] and n < FEWEST), len(subject.records(name))]
                texts = [f"{number:.6g}" for number in numbers]
                rows.append([*start, *about, *texts, *[""] * (7 - len(texts))])
    return as_csv(header, rows)


def _section(subject: Audited, tables: Sequence[Table]) -> Section:
    notes = distinct(note for table in tables[1:] for note in table.notes)
    parts = [
        Part(tables=tables[:1], notes=list(tables[0].notes)),
        Part("Figures with their 95 % intervals", plots=[_sizes(subject), *_changes(subject)]),
        Part("Groups", tables=tables[1:], notes=notes),
    ]
    return Section(subject.of[0], f"{TITLE}: {subject.title}", subject.of[2], parts)


def _sizes(subject: Audited) -> Plot:
    """The first metric by the size: a point a compression."""
    metric = f"{subject.first(subject.keys[0]).metric} {subject.first(subject.keys[0]).unit}"
    order = sorted(subject.names, key=lambda name: subject.cost(name, "compressed_bytes"))
    lines = []
    for name in order:
        figure = subject.figures[name, subject.keys[0]]
        low, high = figure.interval
        size = subject.cost(name, "compressed_bytes") / 1024
        lines.append(plots.Line(name, [size], [figure.value], [low], [high]))
    svg = plots.line_plot(f"{subject.title}, {metric} by size", lines, "KiB, gzip", metric)
    return Plot("Accuracy by size", svg, "a point a compression", plots.keys(order))


def _changes(subject: Audited) -> list[Plot]:
    """For each grouping the changes of the ranked groups' accuracies, by compression."""
    panels = []
    names = subject.names[1:]
    for grouping, keys in subject.groupings.items():
        ranked = [key for key in keys if not subject.few(key)]
        if not (names and ranked):
            continue
        rows = []
        for name in names:
            changes = [subject.change(name, key) for key in ranked]
            bars = [
                plots.Bar(key[2], change.value, change.low, change.high)
                for key, change in zip(ranked, changes, strict=True)
            ]
            rows.append((name, bars))
        title = f"{subject.title}, change by {grouping}"
        svg = plots.interval_plot(title, rows, "points")
        legend = plots.keys([key[2] for key in ranked])
        caption = f"Change of accuracy by {grouping}"
        panels.append(Plot(caption, svg, "points, above 0 is better", legend))
    return panels
