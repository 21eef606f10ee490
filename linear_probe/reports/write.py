"""A report as a file, in the form that its name's ending says: HTML, Markdown or CSV."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path

from linear_probe.records.record import Record
from linear_probe.records.recorder import RunFolder
from linear_probe.reports.command import find_records, replicates_of, table
from linear_probe.reports.tables import distinct
from ssl_faces import InputError
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.files import replace_file

ENDINGS = (".html", ".htm", ".md", ".csv")


def check_ending(out: str | Path) -> str:
    """The ending of a report's name, in small letters.

    Raises:
        InputError: no report has such an ending.
    """
    ending = Path(out).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"--out {out}: the ending says what is written; name it .html, .md or .csv"
        )
    return ending


def write_report(
    folders: Sequence[str | Path],
    out: str | Path,
    data: str | Path | None = None,
    most_maps: int | None = None,
) -> None:
    """Write the report of these runs' folders to `out`, which is never half-written.

    Args:
        data: of an HTML report: folder of the pictures for its galleries, or `rendered`.
        most_maps: of an HTML report: 2-D maps to draw; None is the usual number.

    Raises:
        InputError: a folder without records, an unknown ending, `data` without pictures, or `out`
            can't be written.
    """
    ending = check_ending(out)
    found = find_records(folders)
    records = [one.record for one in found]
    if ending == ".csv":
        text = as_csv(records)
    elif ending == ".md":
        try:
            replicates = replicates_of(found)
        except InputError:
            replicates = {}  # then nothing is bold
        commands = distinct(c for folder in folders for c in RunFolder(Path(folder)).commands())
        text = table(records, markdown=True, replicates=replicates) + "\n"
        if commands:
            text += "\n### How to repeat it\n\n```sh\n" + "\n".join(commands) + "\n```\n"
    else:
        from linear_probe.reports.page import MOST_MAPS, page

        text = page(found, data, MOST_MAPS if most_maps is None else most_maps)
    # Names may hold bytes that are no text.
    replace_file(Path(out), text.encode(errors="backslashreplace"))


def as_csv(records: Sequence[Record]) -> str:
    """One row a record with all its fields; those that hold several values are JSON."""
    stream = io.StringIO()
    names = [field.name for field in dataclasses.fields(Record)]
    writer = CsvWriter(stream)
    writer.writerow(names)
    for record in records:
        row = dataclasses.asdict(record)
        writer.writerow(
            json.dumps(v, sort_keys=True) if isinstance(v, dict) else v for v in row.values()
        )
    return stream.getvalue()
