"""CSV tables that a spreadsheet shows as they are: no cell is run as a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import Any, TextIO

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
"""Starts of what spreadsheets run, or were escaped as such."""


class CsvWriter:
    """Writes rows to a text stream; texts that a spreadsheet would run get a `'` in front.

    `unescaped` is the inverse.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def writerow(self, row: Iterable[Any]) -> None:
        # Of this line ending, as only characters of the ending are quoted within cells.
        line = io.StringIO(newline="")
        writer = csv.writer(line, lineterminator="\r\n")  # noqa: TID251
        writer.writerow([_escaped(value) for value in row])
        self._stream.write(line.getvalue().removesuffix("\r\n") + "\n")

    def writerows(self, rows: Iterable[Iterable[Any]]) -> None:
        for row in rows:
            self.writerow(row)


def unescaped(text: str) -> str:
    """A cell as it was given to `CsvWriter`."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _escaped(value: Any) -> Any:
    if not isinstance(value, str) or not _FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
