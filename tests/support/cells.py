"""Cells of tables by the columns' headings."""

from __future__ import annotations

from linear_probe.reports.text_tables import Table


def cells(table: Table, row: int | None = None) -> dict[str, str]:
    """A row's texts by column, so that a test doesn't count columns; of the only row, if None."""
    assert row is not None or len(table.body) == 1
    return dict(zip(table.header, table.body[row or 0], strict=True))
