"""A comparison as lines, one a figure; as CSV; and the table that is pivoted from the lines.

The CSV is what is archived for the documentation, so that its table can be made without the
bootstrap's replicates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from linear_probe.reports.comparison import (
    CSV_COLUMNS,
    SIGNIFICANT,
    TWO_IMAGES,
    Column,
    Comparison,
    Line,
    comparison,
)
from linear_probe.reports.tables import EDGE, distinct
from linear_probe.reports.text_tables import Cell, Table, as_csv, as_text
from ssl_faces.common.files import replace_file


def write_comparison(folder: str | Path) -> Table:
    """Write `comparison.md` and `comparison.csv` to a folder of `ssl-faces compare`.

    Raises:
        InputError: the folder can't be read or written.
    """
    folder = Path(folder)
    found = comparison(folder)
    table = as_table(found)
    replace_file(folder / "comparison.md", (as_text(table, markdown=True) + "\n").encode())
    replace_file(folder / "comparison.csv", comparison_csv(found).encode())
    return table


def as_table(found: Comparison) -> Table:
    """A row for each method and baseline."""
    budget = f"{found.compared.budget_pflop:g} PFLOP of training each"
    header, body = pivot(found.lines)
    return Table(f"Methods compared, {budget}", header, body, _notes(found))


def comparison_csv(found: Comparison) -> str:
    """A line for each figure, and one for each method without any."""
    return as_csv(CSV_COLUMNS, (line.values() for line in found.lines))


def pivot(found: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table: a row a method or baseline, a column a metric."""
    columns = list(dict.fromkeys(column_of(line) for line in found if line["task"]))
    by_method: dict[str, list[Line]] = {}
    for line in found:
        by_method.setdefault(line["method"], []).append(line)
    header = ["method", "identity labels", "features", *(column.heading for column in columns)]
    shares = any(line[TWO_IMAGES] for line in found)
    body: list[list[str]] = []
    for method, mine in by_method.items():
        about = mine[0]
        figures = {column_of(line): line for line in mine if line["task"]}
        features = _spaces((column.task, line["feature_space"]) for column, line in figures.items())
        if not figures and about["error"]:
            features = f"failed: {about['error']}"
        body.append(
            [
                *(method, about["uses_identity_labels"], features),
                *(cell_of(figures[c], True) if c in figures else "-" for c in columns),
                about["seeds"].replace(" ", ", "),
                *(_with_commas(about[key]) for key in ("steps", "pairs")),
                *([about[TWO_IMAGES]] if shares else []),
                *(about["pflop"], about["minutes"]),
            ]
        )
    header += ["seeds", "steps", "pairs", *(["two-image pairs %"] if shares else [])]
    return [*header, "PFLOP", "minutes"], body


def column_of(line: Line) -> Column:
    """The column of a figure."""
    return Column(*(line[name] for name in Column._fields))


def cell_of(line: Line, with_edge: bool) -> Cell:
    """The figure of a line with its interval, and whether it is best or tied with the best.

    Args:
        with_edge: mark what was chosen at the edge of its grid.
    """
    mark = "*" if with_edge and line["at_grid_edge"] else ""
    spread = f" ± {float(line['spread']):.2f}" if line["spread"] else ""
    tied = " ≈" if line["tied"] else ""
    value, low, high = (float(line[name]) for name in ("value", "low", "high"))
    text = f"{value:.2f}{mark}{spread} [{low:.2f}, {high:.2f}]{tied}"
    return Cell(text, value, best=bool(line["best"]))


def _spaces(of_columns: Iterable[tuple[str, str]]) -> str:
    """Tasks by space, from each column's task and space; one name if all have the same."""
    tasks: dict[str, dict[str, None]] = {}
    for task, space in of_columns:
        tasks.setdefault(space, {})[task] = None
    if len(tasks) < 2:
        return next(iter(tasks), "") or "-"
    return "; ".join(f"{', '.join(of)}: {space}" for space, of in tasks.items() if space)


def _with_commas(text: str) -> str:
    return re.sub(r"\d+", lambda number: f"{int(number[0]):,}", text)


def _tuning(about: dict[str, Any]) -> list[str]:
    """What was tuned, and what was chosen."""
    if not about:
        return ["settings: as in the configs; nothing was tuned for this comparison"]
    chosen = [
        f"{method}: "
        + (", ".join(f"{key} {value}" for key, value in own.items()) or "as configured")
        for method, own in about["chosen"].items()
    ]
    return [
        f"tuned: for every method {about['runs']} runs of {about['share']:g} of the budget, by the "
        f"mean rank of validation scores ({about['task']}); " + "; ".join(chosen)
    ]


def _notes(found: Comparison) -> list[str]:
    methods = found.compared.methods
    runs = [run for method in methods for run in method.runs]
    figures = [line for line in found.lines if line["task"]]
    notes = [
        "PFLOP: 10^15 multiplications and additions of convolutions and matrix products in "
        "training, counted (`ssl-faces bench cost`); minutes: of a run, on "
        + "; ".join(distinct(run.hardware for run in runs)),
        "identity labels yes: pairs may be two images of one person, so that the method is not "
        "unlabelled",
        "features: the space that is best on the validation split of the training part, by the "
        "mean over seeds; for pairs in folds the one that most folds choose, each by the pairs of "
        "the other folds; the test part chooses nothing",
        *found.notes,
        *_tuning(found.compared.tuning),
    ]
    if any(line["spread"] for line in figures):
        notes.append(
            "mean over training seeds ± their standard deviation; 95 % interval over test rows "
            "(bootstrap) and seeds (Student's t) together"
        )
    if any(len(method.runs) == 1 for method in methods):
        notes.append(
            "with one seed, intervals and tests are over test rows alone: they compare these "
            "trained encoders, and give no verdict about the methods"
        )
    if found.tests:
        notes.append(
            f"bold: the best method of a column; ≈: not significantly different from it; "
            f"{found.tests} paired tests on the same test rows (and over seeds: paired if both "
            "have the same, else Welch), each of a method against the best of its column, at "
            f"p < {SIGNIFICANT:g} after Holm's correction within the column; baselines take no part"
        )
    if any(line["at_grid_edge"] for line in figures):
        notes.append(EDGE)
    notes += [
        f"{method.name}: failed in part: {method.error}"
        for method in methods
        if method.error and method.runs
    ]
    counts: dict[Column, set[int]] = {}
    for line in figures:
        counts.setdefault(column_of(line), set()).add(int(line["n"]))
    notes += [f"{c.task}: {c.data_set}, {c.split}, n {min(n):,}" for c, n in counts.items()]
    return distinct([*notes, *found.protocols])
