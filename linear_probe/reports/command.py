"""Tables from records: one row an encoder's feature space or baseline, grouped by task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linear_probe.records.published import published, published_notes
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from linear_probe.reports.tables import (
    BEST,
    Curve,
    Table,
    best_rows,
    curves,
    distinct,
    main_curves,
    tables,
)
from linear_probe.reports.text_tables import aligned_rows, markdown_rows
from ssl_faces import InputError

Replicates = Mapping[tuple[str | int, ...], np.ndarray]
"""Of the bootstrap, [B], by `Record.key`."""


@dataclass(frozen=True)
class Found:
    """A record and where it was found.

    Attributes:
        record: as tables show it, with its folder in the encoder's name where two disagree.
        stored: as it is written; its `name` is what is kept beside the records by.
        folder: the run's.
    """

    record: Record
    stored: Record
    folder: Path


def find_records(folders: Sequence[str | Path]) -> list[Found]:
    """`read_folders`, with where each record comes from.

    Raises:
        InputError: a folder is missing or without records, or a line is not a record.
    """
    found: dict[tuple[str | int, ...], Found] = {}
    for folder in map(Path, folders):
        path = folder / RECORDS_FILE if folder.is_dir() or not folder.exists() else folder
        records = read_records(path)
        if not records:
            raise InputError(f"{path}: holds no record; run `linear-probe run --out {folder}`")
        earlier = {key: one.record for key, one in found.items()}
        clashing = {
            (r.task, r.encoder, r.feature_space)
            for r in records
            if r.key in earlier and (earlier[r.key].value, earlier[r.key].n) != (r.value, r.n)
        }
        for stored in records:
            record = stored
            if (record.task, record.encoder, record.feature_space) in clashing:
                record = replace(record, encoder=f"{record.encoder} ({folder})")
            found.setdefault(record.key, Found(record, stored, path.parent))
    return list(found.values())


def read_folders(folders: Sequence[str | Path]) -> list[Record]:
    """The records of folders that `linear-probe run` wrote; figures that are alike come once.

    Where two folders disagree, the later's rows are named with their folder.

    Raises:
        InputError: a folder is missing or without records, or a line is not a record.
    """
    return [one.record for one in find_records(folders)]


def replicates_of(found: Sequence[Found]) -> dict[tuple[str | int, ...], np.ndarray]:
    """The bootstrap's replicates of each record that has them, by its key as shown.

    Raises:
        InputError: a file of them can't be read.
    """
    by_folder = {
        folder: read_replicates(folder / REPLICATES_FILE)
        for folder in dict.fromkeys(one.folder for one in found)
    }
    return {
        one.record.key: by_folder[one.folder][one.stored.name]
        for one in found
        if one.stored.name in by_folder[one.folder]
    }


def table(
    records: Sequence[Record],
    markdown: bool = False,
    validation: bool = False,
    replicates: Replicates | None = None,
) -> str:
    """The records as text: a table for each task, data set and split, then the curves of each
    task's first metric.

    Args:
        markdown: as Markdown tables instead of aligned columns.
        validation: show what was chosen by, on the validation split, instead of the test figures.
        replicates: in Markdown, set what is best in bold where they tell it from the second.
    """
    if validation:
        return "\n\n".join(_validation_table(one, markdown) for one in tables(records))
    parts = [_table(one, markdown, replicates or {}) for one in tables(records)]
    return "\n\n".join(parts + [_curve(one, markdown) for one in main_curves(curves(records))])


def _table(one: Table, markdown: bool, replicates: Replicates) -> str:
    best = best_rows(one, replicates) if markdown else set()
    header = ["encoder", "features", *(["probe"] if one.several_probes else [])]
    header += [*map(one.headed, one.metrics), *(["seeds"] if one.several_seeds else []), "n"]
    body = []
    for row in one.rows:
        cells = [
            row.encoder,
            row.feature_space or "-",
            *([row.probe] if one.several_probes else []),
        ]
        for metric in one.metrics:
            text = str(row.cells[metric]) if metric in row.cells else "-"
            cells.append(f"**{text}**" if f"{row.name}/{metric}" in best else text)
        if one.several_seeds:
            cells.append(", ".join(map(str, row.seeds)))
        body.append([*cells, row.n])
    # In a column of their own: measured by other rules, on other data.
    others = published(one.data_set, one.metrics)
    if others:
        header.append("published †")
        body = [[*cells, ""] for cells in body]
        for theirs in others:
            values = ", ".join(f"{metric} {value:.2f}" for metric, value in theirs.values.items())
            body.append([theirs.name, *[""] * (len(header) - 2), values])
    notes = [*([BEST] if best else []), *one.notes]
    notes += published_notes(others)
    return _text(one.title, header, body, notes, markdown)


def _curve(one: Curve, markdown: bool) -> str:
    header = [one.headed, *(f"{level:g}" for level in one.levels)]
    header += ["as it is"] if one.as_it_is else []
    body = []
    for series in one.series:
        cells = [
            str(series.points[level]) if level in series.points else "-" for level in one.levels
        ]
        if one.as_it_is:
            cells.append(str(one.as_it_is.get(series.row.name, "-")))
        body.append([series.row.name, *cells])
    title = f"{one.title}, {one.split}, {one.unit}"
    notes = distinct(r.protocol for r in one.records) + distinct(r.note for r in one.records)
    return _text(title, header, body, notes, markdown)


def _validation_table(one: Table, markdown: bool) -> str:
    title = f"{one.task}: {one.data_set}, validation split of the training part"
    # Of each row by what it was chosen by and for which metric: a value of each seed.
    rows: dict[tuple[str, ...], dict[tuple[str, str], list[float]]] = {}
    for row in one.rows:
        for metric, cell in row.cells.items():
            for record in cell.records:
                for name, value in _chosen_by(record).items():
                    here = rows.setdefault((row.encoder, row.feature_space, row.probe), {})
                    here.setdefault((name, metric), []).append(value)
    if not rows:
        lines = [f"### {title}" if markdown else title, ""]
        return "\n".join([*lines, "nothing is chosen on a validation split here"])
    columns: dict[tuple[str, str], list[list[float] | None]] = {}
    for column in dict.fromkeys(column for row in rows.values() for column in row):
        values = [row.get(column) for row in rows.values()]
        # One choice serves several metrics: shown once.
        if not any(c[0] == column[0] and v == values for c, v in columns.items()):
            columns[column] = values
    names = [name for name, _ in columns]
    header = ["encoder", "features", *(["probe"] if one.several_probes else [])]
    header += [n if names.count(n) == 1 else f"{n}, for {metric}" for n, metric in columns]
    body = []
    for number, key in enumerate(rows):
        cells = [key[0], key[1] or "-", *([key[2] or "-"] if one.several_probes else [])]
        body.append([*cells, *(_mean(values[number]) for values in columns.values())])
    seeds = sorted({record.seed for record in one.records})
    note = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    note += ": mean ± standard deviation" if len(seeds) > 1 else ""
    return _text(title, header, body, [note], markdown)


def _chosen_by(record: Record) -> dict[str, float]:
    found = record.hyperparameters.get("validation")
    values = found.items() if isinstance(found, dict) else ()
    return {k: float(v) for k, v in values if isinstance(v, int | float)}


def _mean(values: list[float] | None) -> str:
    if not values:
        return "-"
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def _text(
    title: str, header: list[str], body: list[list[str]], notes: Sequence[str], markdown: bool
) -> str:
    lines = [f"### {title}" if markdown else title, ""]
    lines += markdown_rows(header, body) if markdown else aligned_rows(header, body)
    bullet = "- " if markdown else "  "
    return "\n".join([*lines, "", *(bullet + note for note in notes)]).rstrip("\n")
