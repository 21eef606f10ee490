"""Tables of what is behind a figure: confusions, recalls of classes, scores of groups of people.

All of it comes from the predictions that `linear-probe run` keeps; nothing is measured again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from linear_probe.records.collect import find_records, rows_named
from linear_probe.records.predictions import Predictions
from linear_probe.records.record import Record
from linear_probe.reports.evidence import Evidence
from linear_probe.reports.text_tables import Cell, Table, as_text
from linear_probe.stats.breakdown import (
    FEWEST,
    PartFigure,
    by_group,
    confusion,
    ranked_gap,
    recalls,
)
from ssl_faces import InputError

GROUP_NOTE = (
    f"‡ fewer than {FEWEST} rows: shown, but not ranked, and left out of best – worst; intervals "
    "are Wilson's for shares and normal for errors, each of one group alone"
)


def recall_tables(evidence: Sequence[Evidence]) -> list[Table]:
    """Recalls of each class, a table for each set of classes."""
    by_classes: dict[tuple[str, ...], list[Evidence]] = {}
    for one in evidence:
        if one.predictions.kind == "classification":
            by_classes.setdefault(tuple(one.predictions.classes), []).append(one)
    return [
        _table(
            f"recall %, {those[0].record.metric}",
            [f"recall {name}" for name in classes],
            {_name(one, those): recalls(one.predictions) for one in those},
        )
        for classes, those in by_classes.items()
    ]


def group_tables(evidence: Sequence[Evidence]) -> list[Table]:
    """Scores of each group, a table for each grouping and figure; small groups are marked."""
    by_title: dict[tuple[str, str, tuple[str, ...]], list[Evidence]] = {}
    for one in evidence:
        for grouping, names in one.predictions.groups.items():
            regression = one.predictions.kind == "regression"
            score = f"mean error, {one.record.unit}" if regression else "accuracy %"
            title = f"{score} by {grouping}, {_target(one)}"
            by_title.setdefault((grouping, title, tuple(sorted(set(names)))), []).append(one)
    return [
        _table(
            title,
            groups,
            {_name(one, those): by_group(one.predictions, grouping) for one in those},
            with_gap=True,
        )
        for (grouping, title, groups), those in by_title.items()
    ]


def _target(one: Evidence) -> str:
    """What a figure is of, such as `gender`: its metric without the score."""
    metric = one.record.metric
    return metric.replace("mean class recall", "").replace("accuracy", "").strip() or metric


def _name(one: Evidence, among: Sequence[Evidence]) -> str:
    unique = sum(other.name == one.name for other in among) == 1
    return one.name if unique else f"{one.name}, {one.record.metric}"


def _table(
    title: str,
    parts: Sequence[str],
    by_row: dict[str, list[PartFigure]],
    with_gap: bool = False,
) -> Table:
    """A row of evidence a row, a class or group a column."""
    figures = {row: {figure.part: figure for figure in of_row} for row, of_row in by_row.items()}
    header = ["row"]
    for part in parts:
        counts = sorted({of_row[part].n if part in of_row else 0 for of_row in figures.values()})
        n = "–".join(f"{n:,}" for n in dict.fromkeys((counts[0], counts[-1])))
        few = " ‡" if counts[0] < FEWEST else ""
        header.append(f"{part.removeprefix('recall ')} (n {n}){few}")
    header += ["best – worst"] if with_gap else []
    body: list[list[str]] = []
    for row, of_row in figures.items():
        cells: list[str] = [row]
        for part in parts:
            figure = of_row.get(part)
            if figure is None:
                cells.append("-")
                continue
            interval = f"[{figure.low:.1f}, {figure.high:.1f}]"
            cells.append(Cell(f"{figure.value:.1f}", figure.value, small=interval))
        if with_gap:
            gap = ranked_gap(of_row.values())
            cells.append("-" if gap is None else Cell(f"{gap:.1f}", gap))
        body.append(cells)
    return Table(title, header, body)


def confusion_table(predictions: Predictions, title: str) -> Table:
    """Counts as a table; a page also shows shares of the true class."""
    matrix = confusion(predictions)
    body = []
    for name, row in zip(predictions.classes, matrix.tolist(), strict=True):
        cells: list[str] = [name]
        for count in row:
            share = count / max(sum(row), 1)
            small = f"{100 * share:.0f} %" if sum(row) else ""
            # At most half, so that the text stays legible.
            cells.append(Cell(str(count), value=count, small=small, tint=round(share / 2, 3)))
        body.append(cells)
    return Table(title, ["true \\ predicted", *predictions.classes], body)


def breakdown(folder: str | Path, row: str | None = None, markdown: bool = False) -> str:
    """The confusion matrix, the recalls and the groups' figures of each main figure, as text.

    Args:
        folder: what `linear-probe run` wrote.
        row: ENCODER or ENCODER=SPACE, to show this row of the table only.

    Raises:
        InputError: no such row, or no predictions were kept.
    """
    found = find_records([folder])
    if row is not None:
        found = rows_named(found, row)
    parts = []
    for each in found:
        predictions = None if each.record.condition else each.predictions()
        if predictions is not None:
            parts += [as_text(t, markdown) for t in _tables(each.record, predictions)]
    if not parts:
        raise InputError(
            f"{folder}: no predictions were kept there; run `linear-probe run --out {folder}` again"
        )
    return "\n\n".join(parts)


def _tables(record: Record, predictions: Predictions) -> list[Table]:
    title = f"{record.task}: {record.data_set}, {record.row_name}, {record.probe}"
    title += f", seed {record.seed}" if record.seed else ""
    title += f": {record.metric}"
    tables = []
    if predictions.kind == "classification":
        tables.append(confusion_table(predictions, f"{title}, confusion matrix"))
        tables.append(_parts_table(title, ["class", "%", "n"], recalls(predictions)))
    for grouping in predictions.groups:
        header = [grouping, record.unit, "n"]
        parts = by_group(predictions, grouping)
        tables.append(_parts_table(f"{title} by {grouping}", header, parts))
    return tables


def _parts_table(title: str, header: list[str], parts: list[PartFigure]) -> Table:
    few = any(not part.ranked for part in parts)
    body = [
        [
            part.part + ("" if part.ranked else " (few)"),
            f"{part.value:.2f} [{part.low:.2f}, {part.high:.2f}]",
            f"{part.n:,}",
        ]
        for part in parts
    ]
    return Table(
        title, header, body, [f"(few): under {FEWEST} test rows, not ranked"] if few else []
    )
