"""Prints records as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from linear_probe.records.record import Record

if TYPE_CHECKING:
    from linear_probe.records.collect import Replicates
    from linear_probe.reports.text_tables import Table

Form = Literal["text", "markdown", "latex"]


def table(
    records: Sequence[Record],
    markdown: bool = False,
    validation: bool = False,
    replicates: Replicates | None = None,
    form: Form | None = None,
) -> str:
    """The records as text: a table for each task, data set and split, then the curves of each
    task's first metric.

    Args:
        markdown: as Markdown tables instead of aligned columns.
        validation: show what was chosen by, on the validation split, instead of the test figures.
        replicates: of the bootstrap, for intervals over seeds, and in Markdown and LaTeX to mark
            the best of each column and what is not significantly different from it.
        form: instead of `markdown`.
    """
    # Late: pandas takes a second to import, which `--help` must not.
    from linear_probe.reports import tables

    form = form or ("markdown" if markdown else "text")
    figures = tables.task_figures(records, replicates)
    if validation:
        parts = [tables.validation_table(one) for one in figures]
    else:
        parts = [tables.figures_table(one, mark_best=form != "text") for one in figures]
        main = tables.main_curves(tables.curves(records, replicates))
        parts += [tables.curve_table(curve) for curve in main]
    return "\n\n".join(map(_renderer(form), parts))


def tables_of_run(out: str | Path, records: Iterable[Record]) -> str:
    """The tables of those of these records that are in the folder `out`."""
    from linear_probe.records.collect import find_records, replicates_of

    found = find_records([out])
    keys = {record.key for record in records}
    shown = [one.record for one in found if one.stored.key in keys]
    return f"\n{table(shown, replicates=replicates_of(found))}"


def _renderer(form: Form) -> Callable[[Table], str]:
    from linear_probe.reports.latex import as_latex
    from linear_probe.reports.text_tables import as_text

    if form == "latex":
        return as_latex
    return lambda table: as_text(table, markdown=form == "markdown")
