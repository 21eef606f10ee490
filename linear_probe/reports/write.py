"""A report as a file, in the form of its suffix: HTML, Markdown, LaTeX or CSV."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from linear_probe.records.collect import find_records, replicates_of
from linear_probe.records.frame import FIELDS, frame
from linear_probe.records.record import Record
from linear_probe.records.recorder import RunFolder
from linear_probe.reports.command import Form, table
from linear_probe.reports.tables import distinct
from linear_probe.reports.text_tables import as_csv
from ssl_faces import InputError
from ssl_faces.common.files import replace_file

ENDINGS = (".html", ".htm", ".md", ".tex", ".csv")


def check_ending(out: str | Path) -> str:
    """The suffix of a report's name, in lower case.

    Raises:
        InputError: no report has such a suffix.
    """
    ending = Path(out).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"--out {out}: the suffix sets the format; name it .html, .md, .tex or .csv"
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
        data: of an HTML report: folder of the images for its galleries, or `rendered`.
        most_maps: of an HTML report: 2-D maps to draw; None is the usual number.

    Raises:
        InputError: a folder without records, an unknown suffix, `data` without images, or `out`
            can't be written.
    """
    ending = check_ending(out)
    found = find_records(folders, short=ending != ".csv")
    records = [one.record for one in found]
    if ending == ".csv":
        text = records_csv(records)
    elif ending in (".md", ".tex"):
        try:
            replicates = replicates_of(found)
        except InputError:
            replicates = {}  # then nothing is bold
        form: Form = "markdown" if ending == ".md" else "latex"
        text = table(records, replicates=replicates, form=form) + "\n"
        commands = distinct(c for folder in folders for c in RunFolder(Path(folder)).commands())
        if commands and ending == ".md":
            text += "\n### How to repeat it\n\n```sh\n" + "\n".join(commands) + "\n```\n"
    else:
        from linear_probe.reports.page import MOST_MAPS, page

        text = page(found, data, MOST_MAPS if most_maps is None else most_maps)
    # Names may hold bytes that are not UTF-8.
    replace_file(Path(out), text.encode(errors="backslashreplace"))


def records_csv(records: Sequence[Record]) -> str:
    """One row a record with all its fields; those that hold several values are JSON."""
    table = frame(records)[FIELDS]
    for name in ("hyperparameters", "condition", "versions"):
        table[name] = [json.dumps(value, sort_keys=True) for value in table[name]]
    return as_csv(FIELDS, table.itertuples(index=False))
