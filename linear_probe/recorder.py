"""Writes what was measured to a run's folder: records, replicates, predictions."""

from __future__ import annotations

from pathlib import Path

from linear_probe.measured import Measured, records_of
from linear_probe.predictions import predictions_path, write_predictions
from linear_probe.record import RECORDS_FILE, Record, merged, read_records, write_records
from linear_probe.replicates import REPLICATES_FILE, read_replicates, write_replicates


class Recorder:
    """Adds figures to a folder as they come, so that a run that is stopped keeps what it has.

    Records that were there stay, but for those of the same key, which are replaced.

    Args:
        out: the folder.
        where: the hardware, for the records.

    Attributes:
        records: those added.

    Raises:
        InputError: what is there can't be read; from `add`: it can't be written.
    """

    def __init__(self, out: Path, where: str) -> None:
        self.out, self.where = out, where
        path = out / RECORDS_FILE
        self._earlier = read_records(path) if path.exists() else []
        self._replicates = read_replicates(out / REPLICATES_FILE)
        self.records: list[Record] = []

    def add(self, row: Measured) -> None:
        made = records_of(row, self.where)
        self.records.extend(made)
        for record, figure in zip(made, row.figures, strict=True):
            self._replicates[record.name] = figure.replicates
            if figure.predictions is not None:
                write_predictions(predictions_path(self.out, record), figure.predictions)
        write_replicates(self.out / REPLICATES_FILE, self._replicates)
        write_records(self.out / RECORDS_FILE, merged(self._earlier, self.records))
