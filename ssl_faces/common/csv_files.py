"""CSV files without cells that a spreadsheet would run as formulas."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any, TextIO

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
"""Start of a formula, or of an escaped one."""


class CsvWriter:
    """Writes rows to a text stream; formulas are escaped by `'` (see `unescaped`)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def writerow(self, row: Iterable[Any]) -> None:
        # With this line ending, since csv only quotes characters of the ending.
        line = io.StringIO(newline="")
        writer = csv.writer(line, lineterminator="\r\n")  # noqa: TID251
        writer.writerow([_escaped(value) for value in row])
        self._stream.write(line.getvalue().removesuffix("\r\n") + "\n")

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        for row in rows:
            self.writerow(row)


def csv_bytes(rows: Iterable[Iterable[Any]]) -> bytes:
    """The rows as a file; characters that are not UTF-8 are escaped."""
    stream = io.StringIO()
    CsvWriter(stream).writerows(rows)
    return stream.getvalue().encode(errors="backslashreplace")


def unescaped(text: str) -> str:
    """The original text of a cell written by `CsvWriter`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _escaped(value: Any) -> Any:
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
