"""The one table that everything is shown in, and its forms: text, Markdown and CSV.

`latex.py` has the fourth form, and `page.html` the fifth, HTML.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ssl_faces.common.csv_files import CsvWriter

_INTERVAL = re.compile(r"(.*?) (\[[^\]]*\].*)")


class Cell(str):
    """A cell's text, and what a page or a highlight needs besides; a plain `str` is a cell too.

    Args:
        text: as every form shows it.
        value: what a page sorts the column by; None if the cell is no number.
        best: set in bold.
        kind: CSS class of the row that this cell heads.
        small: shown below the text on a page.
        tint: strength of the background on a page, 0 to 1.
        hint: shown on a page when the pointer is over the cell.
    """

    value: float | None = None
    best: bool = False
    kind: str = ""
    small: str = ""
    tint: float = 0.0
    hint: str = ""

    def __new__(cls, text: object, value: float | None = None, **marks: Any) -> Cell:
        cell = super().__new__(cls, text)
        vars(cell).update(marks, value=value)
        return cell

    @property
    def parts(self) -> tuple[str, str]:
        """The figure and its interval with what follows it; no interval: empty."""
        match = _INTERVAL.fullmatch(self)
        return (match[1], match[2]) if match else (str(self), "")


class Table(NamedTuple):
    """A table that any form can show.

    Attributes:
        title: what it is of.
        header: names of the columns.
        body: rows of cells, plain texts or `Cell`.
        notes: what readers must know.
    """

    title: str
    header: list[str]
    body: list[list[str]]
    notes: Sequence[str] = ()

    @property
    def cells(self) -> list[list[Cell]]:
        """The body with a `Cell` everywhere."""
        return [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.body]

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers."""
        columns = zip(*self.cells, strict=True) if self.body else [()] * len(self.header)
        return [any(cell.value is not None for cell in column) for column in columns]


def as_text(table: Table, markdown: bool = False) -> str:
    """The table in aligned columns, or as Markdown."""
    lines = [f"### {table.title}" if markdown else table.title, ""]
    if table.header:
        lines += [*(markdown_rows if markdown else aligned_rows)(table.header, table.body), ""]
    bullet = "- " if markdown else "  "
    lines += [bullet + note for note in table.notes]
    return "\n".join(lines).rstrip("\n")


def aligned_rows(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Heading, rule and rows, with columns of equal width."""
    body = [_starred(row) for row in body]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "  " + "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()

    return [line(header), line(["-" * width for width in widths]), *map(line, body)]


def markdown_rows(header: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """Heading, rule and rows of a Markdown table."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * len(header)), *map(line, map(_starred, body))]


def _starred(row: Sequence[str]) -> list[str]:
    return [f"**{cell}**" if isinstance(cell, Cell) and cell.best else str(cell) for cell in row]


def as_csv(header: Sequence[str], body: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV that a spreadsheet doesn't run as formulas."""
    stream = io.StringIO()
    CsvWriter(stream).writerows([header, *body])
    return stream.getvalue()
