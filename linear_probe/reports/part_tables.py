"""Tables of the parts behind a page's figures: recalls of classes, scores of groups of people."""

from __future__ import annotations

from collections.abc import Sequence

from linear_probe.reports.evidence import Evidence
from linear_probe.reports.text_tables import Cell, Table
from linear_probe.stats.breakdown import FEWEST, PartFigure, by_group, ranked_gap, recalls

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
