"""Tables of the page, before they are HTML: of figures, curves, recalls, groups and confusions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from linear_probe.records.published import published
from linear_probe.reports.cards import is_trained
from linear_probe.reports.command import Replicates
from linear_probe.reports.evidence import FEWEST, Evidence, Group, confusions, gap, groups, recalls
from linear_probe.reports.tables import Cell, Curve, Table, best_rows

_DARKEST = 0.5  # of a tint, so that ink stands out on it


class Head(NamedTuple):
    """A column's head."""

    text: str
    numeric: bool = False


class GridCell(NamedTuple):
    """One cell.

    Attributes:
        kind: classes of its looks.
        value: what it is sorted by.
        interval, small: what stands behind and below the text.
        tint: of its ground, 0 to 1.
        told: shown when it is pointed at.
    """

    text: str
    kind: str = ""
    value: float | None = None
    interval: str = ""
    small: str = ""
    tint: float = 0.0
    told: str = ""


class GridRow(NamedTuple):
    """One row; its first cell heads it."""

    cells: list[GridCell]
    kind: str = ""


class Grid(NamedTuple):
    """A table; `kind` is `sortable`, `confusion` or `plain`."""

    caption: str
    header: list[Head]
    rows: list[GridRow]
    kind: str = "plain"
    id: str = ""


def figures(table: Table, replicates: Replicates, number: int) -> Grid:
    """The main table, sortable, with published figures below and in a column of their own."""
    best = best_rows(table, replicates)
    header = [Head("encoder"), Head("features"), *([Head("probe")] if table.several_probes else [])]
    header += [Head(table.headed(metric), True) for metric in table.metrics]
    header += [*([Head("seeds")] if table.several_seeds else []), Head("n", True)]
    rows = []
    for row in table.rows:
        cells = [GridCell(row.encoder), GridCell(row.feature_space or "–")]
        cells += [GridCell(row.probe or "–")] if table.several_probes else []
        for metric in table.metrics:
            is_best = f"{row.name}/{metric}" in best
            cells.append(_figure(row.cells.get(metric), is_best))
        if table.several_seeds:
            cells.append(GridCell(", ".join(map(str, row.seeds))))
        n = row.records[0].n
        cells.append(GridCell(row.n, "number", n))
        rows.append(GridRow(cells, "trained" if is_trained(row.records[0]) else ""))
    others = published(table.data_set, table.metrics)
    if others:
        header.append(Head("published †"))
        rows = [GridRow([*row.cells, GridCell("")], row.kind) for row in rows]
        for theirs in others:
            values = ", ".join(
                f"{metric} {value:.2f} {table.units.get(metric, '')}".strip()
                for metric, value in theirs.values.items()
            )
            blank = [GridCell("") for _ in header[2:]]
            rows.append(GridRow([GridCell(theirs.name), *blank, GridCell(values)], "published"))
    return Grid(table.title, header, rows, "sortable", f"figures-{number}")


def _figure(cell: Cell | None, best: bool = False) -> GridCell:
    if cell is None:
        return GridCell("–", "number")
    spread = "" if cell.spread is None else f" ± {cell.spread:.2f}"
    record = cell.records[0]
    told = f"{record.probe}; n {cell.n}; {record.metric}"
    return GridCell(
        f"{cell.value:.2f}{'*' if cell.at_grid_edge else ''}{spread}",
        "number best" if best else "number",
        cell.value,
        f"[{cell.low:.2f}, {cell.high:.2f}]",
        told=told,
    )


def curve_grid(curve: Curve) -> Grid:
    """The points of a curve, and the figures without the condition."""
    header = [Head(curve.headed), *(Head(f"{level:g}", True) for level in curve.levels)]
    header += [Head("as it is", True)] if curve.as_it_is else []
    rows = []
    for series in curve.series:
        cells = [GridCell(series.row.name)]
        cells += [_figure(series.points.get(level)) for level in curve.levels]
        cells += [_figure(curve.as_it_is.get(series.row.name))] if curve.as_it_is else []
        rows.append(GridRow(cells))
    return Grid(f"{curve.metric} {curve.unit} by {curve.headed}", header, rows)


def recall_grids(evidence: Sequence[Evidence]) -> list[Grid]:
    """Recalls of each class, a grid for each set of classes."""
    found: dict[tuple[str, ...], list[Evidence]] = {}
    for one in evidence:
        if one.predictions.kind == "classification":
            found.setdefault(tuple(one.predictions.classes), []).append(one)
    grids = []
    for those in found.values():
        columns = {_named(one, those): recalls(one.predictions) for one in those}
        grids.append(_groups_grid(f"recall %, {those[0].record.metric}", columns, None))
    return grids


def group_grids(evidence: Sequence[Evidence]) -> list[Grid]:
    """Scores of each group, a grid for each grouping and figure; small groups are marked."""
    found: dict[tuple[str, str, tuple[str, ...]], list[Evidence]] = {}
    for one in evidence:
        for grouping in one.predictions.groups:
            score = f"mean error, {one.record.unit}"
            score = score if one.predictions.kind == "regression" else "accuracy %"
            names = tuple(sorted(set(one.predictions.groups[grouping])))
            title = f"{score} by {grouping}, {_of_what(one)}"
            found.setdefault((grouping, title, names), []).append(one)
    grids = []
    for (grouping, title, _), those in found.items():
        columns = {_named(one, those): groups(one.predictions, grouping) for one in those}
        gaps = {name: gap(scores) for name, scores in columns.items()}
        grids.append(_groups_grid(title, columns, gaps))
    return grids


def _of_what(one: Evidence) -> str:
    """What a figure is of, such as `gender`: all that its metric says besides the score."""
    metric = one.record.metric
    rest = metric.replace("mean class recall", "").replace("accuracy", "").strip()
    return rest or metric


def _named(one: Evidence, among: Sequence[Evidence]) -> str:
    if sum(other.name == one.name for other in among) == 1:
        return one.name
    return f"{one.name}, {one.record.metric}"


def _groups_grid(
    caption: str, scores: dict[str, list[Group]], gaps: dict[str, float | None] | None
) -> Grid:
    first = next(iter(scores.values()))
    header = [Head("row")]
    for i, group in enumerate(first):
        few = " ‡" if group.few else ""
        counts = sorted({of[i].n for of in scores.values()})
        n = "–".join(f"{n:,}" for n in dict.fromkeys((counts[0], counts[-1])))
        header.append(Head(f"{group.name} (n {n}){few}", True))
    header += [Head("best – worst", True)] if gaps is not None else []
    rows = []
    for name, of in scores.items():
        cells = [GridCell(name)]
        for group in of:
            if math.isnan(group.value):
                cells.append(GridCell("–", "number"))
                continue
            interval = f"[{group.low:.1f}, {group.high:.1f}]"
            cells.append(GridCell(f"{group.value:.1f}", "number", group.value, small=interval))
        if gaps is not None:
            found = gaps[name]
            text = "–" if found is None else f"{found:.1f}"
            cells.append(GridCell(text, "number", found))
        rows.append(GridRow(cells))
    return Grid(caption, header, rows, "sortable")


GROUP_NOTE = (
    f"‡ fewer than {FEWEST} rows: shown, but not ranked, and left out of best – worst; intervals "
    "are Wilson's for shares and normal for errors, of each group by itself"
)


def confusion_grid(one: Evidence) -> Grid:
    """How often each class (rows) was taken for each (columns)."""
    counts = confusions(one.predictions)
    classes = one.predictions.classes
    rows = []
    for i, name in enumerate(classes):
        total = int(counts[i].sum())
        cells = [GridCell(name)]
        for count in counts[i].tolist():
            share = count / total if total else 0.0
            small = f"{100 * share:.0f} %" if total else ""
            tint = round(_DARKEST * share, 3)
            cells.append(GridCell(f"{count:,}", small=small, tint=tint))
        rows.append(GridRow(cells))
    header = [Head("true \\ predicted"), *(Head(name, True) for name in classes)]
    caption = "counts, and shares of each true class; true classes are rows, predicted ones columns"
    return Grid(caption, header, rows, "confusion")
