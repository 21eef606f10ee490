"""Writes measurements to a run's folder: records, replicates, predictions, commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from linear_probe.records.measured import Measured, records_of
from linear_probe.records.predictions import Predictions, predictions_path, write_predictions
from linear_probe.records.record import RECORDS_FILE, Record, merged, read_records, write_records
from linear_probe.records.replicates import REPLICATES_FILE, read_replicates, write_replicates
from ssl_faces.common.files import locked, replace_file
from ssl_faces.common.passwords import hidden
from ssl_faces.data import Skipped, read_skipped, write_skipped

SKIPPED_FILE = "skipped.csv"
COMMANDS_FILE = "commands.txt"


class RunFolder:
    """The records of a folder, to which several processes may add at the same time.

    Each change takes the folder's lock, reads the files and replaces them, so that nothing is lost.
    A new record replaces the one with the same key.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._records = path / RECORDS_FILE
        self._replicates = path / REPLICATES_FILE

    def records(self) -> list[Record]:
        """All records; none if there is no file.

        Raises:
            InputError: the file can't be read.
        """
        return read_records(self._records) if self._records.exists() else []

    def replicates(self) -> dict[str, np.ndarray]:
        """The bootstrap's replicates [B] by `Record.name`.

        Raises:
            InputError: the file can't be read.
        """
        return read_replicates(self._replicates)

    def add(self, records: Iterable[tuple[Record, np.ndarray, Predictions | None]]) -> list[Record]:
        """Add records, each with its replicates [B] and its predictions; all records of the folder.

        Raises:
            InputError: a file can't be read or written, or the disk is full.
        """
        new = list(records)
        with locked(self._records):
            replicates = self.replicates()
            all_of_them = merged(self.records(), [record for record, *_ in new])
            for record, of_record, predictions in new:
                replicates[record.name] = of_record
                if predictions is not None:
                    write_predictions(predictions_path(self.path, record), predictions)
            write_replicates(self._replicates, replicates)
            write_records(self._records, all_of_them)
        return all_of_them

    def add_measured(self, row: Measured, where: str) -> list[Record]:
        """Add the figures of a row that was measured on the hardware `where`; their records.

        Raises:
            InputError: a figure is NaN or infinite, or a file can't be read or written.
        """
        records = records_of(row, where)
        figures = zip(records, row.figures, strict=True)
        self.add((record, figure.replicates, figure.predictions) for record, figure in figures)
        return records

    def begin(self) -> None:
        """Make the file of records, so that a read-only folder is an error before the training.

        Raises:
            InputError: it can't be written.
        """
        if not self._records.exists():
            self.add([])

    def skip(self, name: str, looked_at: Iterable[str], skipped: Sequence[Skipped]) -> Path:
        """List the skipped images of a face set; the file.

        Rows of other sets stay, and so do those of images that this run did not read.

        Args:
            name: the face set's.
            looked_at: keys of the images that were read.
            skipped: images that can't be used, and missing ones.

        Raises:
            InputError: the file can't be written, or the disk is full.
        """
        path = self.path / SKIPPED_FILE
        keys = (*looked_at, *(item.key for item in skipped))
        now = {key.encode(errors="backslashreplace").decode() for key in keys}  # as written
        with locked(path):
            kept = [(of, x) for of, x in read_skipped(path) if of != name or x.key not in now]
            write_skipped(path, [*kept, *((name, item) for item in skipped)])
        return path

    def add_command(self, arguments: Sequence[str]) -> None:
        """Note a `linear-probe` command line that filled the folder; each is noted once.

        Raises:
            InputError: the folder can't be written, or the disk is full.
        """
        path = self.path / COMMANDS_FILE
        line = shlex.join(["linear-probe", *map(hidden, arguments)])
        with locked(path):
            lines = self.commands()
            if line not in lines:
                text = "".join(f"{each}\n" for each in [*lines, line])
                replace_file(path, text.encode(errors="surrogateescape"))

    def commands(self) -> list[str]:
        """The command lines; none if the file is missing or can't be read."""
        try:
            data = (self.path / COMMANDS_FILE).read_bytes()
        except OSError:
            return []
        return [line for line in data.decode(errors="surrogateescape").split("\n") if line]
