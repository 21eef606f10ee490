"""The records of a run, in memory or in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from linear_probe.records.collect import Found, find_records
from linear_probe.records.record import Record


class Scores(list[Record]):
    """The records of one run of `probe`.

    Attributes:
        folder: holds the records, their bootstrap replicates and predictions.
    """

    def __init__(self, records: Iterable[Record], folder: Path) -> None:
        super().__init__(records)
        self.folder = folder


Run = Scores | str | os.PathLike[str]
"""What `probe` returned, or the folder of `linear-probe run`."""


def folder_of(run: Run) -> Path:
    """The folder of a run."""
    return run.folder if isinstance(run, Scores) else Path(run)


def found_in(run: Run) -> list[Found]:
    """The records of a run, and where they are; InputError if there are none."""
    found = find_records([folder_of(run)])
    if isinstance(run, Scores):
        keys = {record.key for record in run}
        found = [each for each in found if each.stored.key in keys]
    return found
