"""Tables as text: aligned columns, or Markdown."""

from __future__ import annotations

from typing import NamedTuple


class Table(NamedTuple):
    """A title, the columns' names, rows of cells, and what readers must know."""

    title: str
    header: list[str]
    body: list[list[str]]
    notes: list[str] = []  # noqa: RUF012  # never changed


def as_text(table: Table, markdown: bool = False) -> str:
    lines = [f"### {table.title}" if markdown else table.title, ""]
    lines += (markdown_rows if markdown else aligned_rows)(table.header, table.body)
    bullet = "- " if markdown else "  "
    if table.notes:
        lines += ["", *(bullet + note for note in table.notes)]
    return "\n".join(lines)


def aligned_rows(header: list[str], body: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]

    def line(cells: list[str]) -> str:
        return "  " + "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()

    return [line(header), line(["-" * width for width in widths]), *map(line, body)]


def markdown_rows(header: list[str], body: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(header), line(["---"] * len(header)), *map(line, body)]
