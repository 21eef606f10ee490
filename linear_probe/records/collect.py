"""Collects the records and replicates of several folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from linear_probe.records.naming import shown_names
from linear_probe.records.predictions import Predictions, predictions_path, read_predictions
from linear_probe.records.record import RECORDS_FILE, Record, read_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates
from ssl_faces import InputError
from ssl_faces.common.errors import did_you_mean

Replicates = Mapping[tuple[str | int, ...], np.ndarray]
"""The bootstrap's replicates [B] by `Record.key`."""


@dataclass(frozen=True)
class Found:
    """A record and where it was found.

    Attributes:
        record: as tables show it: the encoder by a short name, with the folder's if two folders
            disagree.
        stored: as it is written; its `name` is what is kept beside the records by.
        folder: the run's.
    """

    record: Record
    stored: Record
    folder: Path

    def predictions(self) -> Predictions | None:
        """The predictions behind the figure; None if there are none.

        Raises:
            InputError: they can't be read, or are not of the record's rows.
        """
        path = predictions_path(self.folder, self.stored)
        predictions = read_predictions(path)
        if predictions is not None and len(predictions.keys) != self.stored.n:
            raise InputError(
                f"{path}: holds {len(predictions.keys):,} rows, and the record is of "
                f"{self.stored.n:,}; run `linear-probe run` again"
            )
        return predictions


def find_records(folders: Sequence[str | Path], short: bool = True) -> list[Found]:
    """`read_folders`, with where each record comes from.

    Args:
        short: show encoders by short names, see `shown_names`.

    Raises:
        InputError: a folder is missing or without records, or a line is not a record.
    """
    read: dict[Path, list[Record]] = {}
    for folder in map(Path, folders):
        path = folder / RECORDS_FILE if folder.is_dir() or not folder.exists() else folder
        read[path] = read_records(path)
        if not read[path]:
            raise InputError(f"{path}: holds no record; run `linear-probe run --out {folder}`")
    names = shown_names(r.encoder for records in read.values() for r in records) if short else {}
    places = {p: str(p.parent if p.name == RECORDS_FILE else p) for p in read}
    titles = shown_names(places.values()) if short else {}
    found: dict[tuple[str | int, ...], Found] = {}
    for path, records in read.items():
        shown = [replace(r, encoder=names.get(r.encoder, r.encoder)) for r in records]
        earlier = {key: one.record for key, one in found.items()}
        clashing = {
            (r.task, r.encoder, r.feature_space)
            for r in shown
            if r.key in earlier and (earlier[r.key].value, earlier[r.key].n) != (r.value, r.n)
        }
        for stored, record in zip(records, shown, strict=True):
            if (record.task, record.encoder, record.feature_space) in clashing:
                title = titles.get(places[path], places[path])
                record = replace(record, encoder=f"{record.encoder} ({title})")
            found.setdefault(record.key, Found(record, stored, path.parent))
    return list(found.values())


def read_folders(folders: Sequence[str | Path]) -> list[Record]:
    """The records of folders that `linear-probe run` wrote; equal figures come once.

    Encoders have the names that they were scored by. If two folders disagree, the later's rows
    are named with their folder.

    Raises:
        InputError: a folder is missing or without records, or a line is not a record.
    """
    return [one.record for one in find_records(folders, short=False)]


def rows_named(found: Sequence[Found], name: str) -> list[Found]:
    """The figures of a table's row, without points of curves.

    Args:
        name: ENCODER or ENCODER=SPACE, as tables show it or as it was scored.

    Raises:
        InputError: no such row.
    """
    plain = [each for each in found if not each.record.condition]
    named = [
        each
        for each in plain
        if any(name in (r.encoder, r.row_name) for r in (each.record, each.stored))
    ]
    if not named:
        rows = dict.fromkeys(each.record.row_name for each in plain)
        names = (title for row in rows for title in (row, row.rpartition("=")[0]))
        near = did_you_mean(name, names)
        there = ", ".join(rows)
        raise InputError(f"{found[0].folder}: holds no row '{name}'{near}; there are {there}")
    return named


def replicates_of(found: Sequence[Found]) -> Replicates:
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
