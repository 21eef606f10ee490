"""The table of a comparison as Markdown, and all that is behind it as CSV."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from linear_probe.reports.comparison import APART, Column, Comparison, Row, comparison, row_seed
from linear_probe.reports.tables import EDGE, distinct
from linear_probe.reports.text_tables import Table, as_text
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.files import replace_file

CSV_COLUMNS = (
    *("method", "kind", "seeds", "task", "data_set", "split", "metric", "probe", "feature_space"),
    *("unit", "n", "value", "spread", "low", "high", "at_grid_edge", "best", "tied"),
    *("gap", "gap_low", "gap_high", "p", "p_corrected"),
    *("steps", "pairs", "pflop", "minutes", "uses_identity_labels", "error"),
)


def write_comparison(folder: str | Path) -> Table:
    """Write `comparison.md` and `comparison.csv` to a folder of `ssl-faces compare`.

    Raises:
        InputError: the folder can't be read or written.
    """
    folder = Path(folder)
    found = comparison(folder)
    table = as_table(found)
    replace_file(folder / "comparison.md", (as_text(table, markdown=True) + "\n").encode())
    replace_file(folder / "comparison.csv", as_csv(found).encode())
    return table


def as_table(found: Comparison) -> Table:
    """A row for each method and baseline."""
    body = []
    for row in found.rows:
        failed = row.about is not None and not row.about.runs
        features = f"failed: {row.about.error}" if failed and row.about else _features(row)
        cells = [row.name, _labels(row), features]
        for column in found.columns:
            entry = row.entries.get(column)
            text = "-" if entry is None else str(entry)
            if entry is not None and entry.best:
                text = f"**{text}**"
            elif entry is not None and entry.tied:
                text = f"{text} ≈"
            cells.append(text)
        body.append([*cells, *_cost(row)])
    budget = f"{found.compared.budget_pflop:g} PFLOP of training each"
    return Table(f"Methods compared, {budget}", headings(found.columns), body, _notes(found))


def headings(columns: Sequence[Column]) -> list[str]:
    """Of the table with these figures."""
    figures = [column.heading for column in columns]
    own = ["method", "identity labels", "features"]
    return [*own, *figures, "seeds", "steps", "pairs", "PFLOP", "minutes"]


def as_csv(found: Comparison) -> str:
    """A line for each figure, and one for each method without any."""
    stream = io.StringIO()
    writer = CsvWriter(stream)
    writer.writerow(CSV_COLUMNS)
    for row in found.rows:
        about = row.about
        cost = dict(zip(("seeds", "steps", "pairs", "pflop", "minutes"), _cost(row), strict=True))
        common = {
            "method": row.name,
            "kind": "baseline" if about is None else "method",
            "uses_identity_labels": _labels(row),
            "error": (about.error or "") if about else "",
            **{name: text.replace(",", "") for name, text in cost.items()},
            "seeds": " ".join(map(str, _seeds(row))),
        }
        if not row.entries:
            writer.writerow(common.get(name, "") for name in CSV_COLUMNS)
        for column, entry in row.entries.items():
            low, high = entry.interval
            figure = {
                "task": column.task,
                "data_set": column.data_set,
                "split": column.split,
                "metric": column.metric,
                "probe": column.probe,
                "feature_space": entry.space,
                "unit": column.unit,
                "n": entry.records[0].n,
                "value": f"{entry.over_seeds.value:.10g}",
                "spread": "" if (s := entry.over_seeds.spread) is None else f"{s:.10g}",
                "low": f"{low:.10g}",
                "high": f"{high:.10g}",
                "at_grid_edge": "yes" if any(r.at_grid_edge for r in entry.records) else "",
                "best": "yes" if entry.best else "",
                "tied": "yes" if entry.tied else "",
            }
            if entry.gap is not None:
                figure |= {
                    "gap": f"{entry.gap.value:.10g}",
                    "gap_low": f"{entry.gap.low:.10g}",
                    "gap_high": f"{entry.gap.high:.10g}",
                    "p": f"{entry.gap.p:.10g}",
                    "p_corrected": f"{entry.corrected:.10g}",
                }
            figure = common | figure
            writer.writerow(figure.get(name, "") for name in CSV_COLUMNS)
    return stream.getvalue()


def _labels(row: Row) -> str:
    if row.about is None or not row.about.runs:
        return ""
    return "yes" if any(run.uses_identity_labels for run in row.about.runs) else "no"


def _features(row: Row) -> str:
    return spaces_told((column.task, entry.space) for column, entry in row.entries.items())


def spaces_told(of_columns: Iterable[tuple[str, str]]) -> str:
    """Tasks by space, of each column's task and space; one name where all have the same."""
    tasks: dict[str, dict[str, None]] = {}
    for task, space in of_columns:
        tasks.setdefault(space, {})[task] = None
    if len(tasks) < 2:
        return next(iter(tasks), "") or "-"
    return "; ".join(f"{', '.join(of)}: {space}" for space, of in tasks.items() if space)


def _seeds(row: Row) -> list[int]:
    found = {row_seed(row, r) for entry in row.entries.values() for r in entry.records}
    return sorted(found if row.about is not None else set())


def _cost(row: Row) -> list[str]:
    """Seeds, and steps, pairs, PFLOP and minutes of one of them, which are alike but for the
    minutes: their mean."""
    if row.about is None or not row.about.runs:
        return [""] * 5
    runs = row.about.runs
    minutes = sum(run.seconds for run in runs) / len(runs) / 60
    return [
        ", ".join(str(run.seed) for run in runs),
        " + ".join(f"{steps:,}" for steps in runs[0].steps),
        f"{runs[0].pairs:,}",
        f"{runs[0].pflop:.4g}",
        f"{minutes:.1f}",
    ]


def _notes(found: Comparison) -> list[str]:
    methods = [row.about for row in found.rows if row.about is not None]
    runs = [run for method in methods for run in method.runs]
    entries = [entry for row in found.rows for entry in row.entries.values()]
    records = [r for entry in entries for r in entry.records]
    notes = [
        "PFLOP: 10^15 multiplications and additions of convolutions and matrix products in "
        "training, counted (`ssl-faces bench cost`); minutes: of a run, on "
        + "; ".join(distinct(run.hardware for run in runs)),
        "identity labels yes: pairs may be two pictures of one person, so that the method is not "
        "unlabelled",
        "features: the space that is best on the validation split of the training part, by the "
        "mean over seeds; for pairs in folds the one that most folds choose, each by the pairs of "
        "the other folds; the test part chooses nothing",
    ]
    notes += found.notes
    if any(entry.over_seeds.spread is not None for entry in entries):
        notes.append(
            "mean over training seeds ± their standard deviation; 95 % interval over test rows "
            "(bootstrap) and seeds (Student's t) together"
        )
    if any(len(method.runs) == 1 for method in methods):
        notes.append("where there is one seed, the 95 % interval is over test rows alone")
    if found.tests:
        notes.append(
            f"bold: the best method of a column; ≈: not told apart from it; {found.tests} paired "
            "tests on the same test rows (and over seeds: Welch), each of a method against the "
            f"best of its column, at p < {APART:g} after Holm's correction within the column; "
            "baselines take no part"
        )
    if any(r.at_grid_edge for r in records):
        notes.append(EDGE)
    notes += [
        f"{method.name}: failed in part: {method.error}"
        for method in methods
        if method.error and method.runs
    ]
    for column in found.columns:
        n = {e.records[0].n for row in found.rows if (e := row.entries.get(column))}
        line = f"{column.task}: {column.data_set}, {column.split}, n {min(n):,}" if n else ""
        notes.append(line)
    notes += [r.protocol for r in records]
    return distinct(notes)
