"""Cells of tables by the columns' headings."""

from __future__ import annotations

from linear_probe.text_tables import Table


def cells(table: Table, row: int = 0) -> dict[str, str]:
    """A row's texts by column, so that a test doesn't count columns."""
    return dict(zip(table.header, table.body[row], strict=True))
