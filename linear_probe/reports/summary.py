"""One small table of all tasks: a row an encoder, the main figure of each task a column."""

from __future__ import annotations

from collections.abc import Sequence

from linear_probe.records.collect import Replicates
from linear_probe.records.record import Record
from linear_probe.reports.cards import UNTRAINED
from linear_probe.reports.tables import better, distinct, estimate_cell, task_figures
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.sources.baselines import BASELINES
from linear_probe.stats.intervals import few_people_in
from linear_probe.stats.over_seeds import Estimate

BETTER, WORSE = "▲", "▼"
_BASELINES = {baseline.name for baseline in BASELINES}


def summary(records: Sequence[Record], replicates: Replicates) -> str:
    """The first metric of each task, by encoder and feature space, as text.

    A mark shows where a trained encoder is significantly better or worse than the same network
    untrained: the 95 % interval of the paired difference excludes 0.

    Args:
        records: of one or several runs.
        replicates: of the bootstrap, [B], by `Record.key`; without them no cell has a mark.
    """
    header = ["encoder, features"]
    columns: list[dict[tuple[str, str], Estimate]] = []
    counts = []
    for figures in task_figures(records, replicates):
        metric = figures.metrics[0]
        column: dict[tuple[str, str], Estimate] = {}
        for row in figures.rows:
            # A task resizes the images of a baseline as it needs: one row for all its spaces.
            space = "" if row.encoder in _BASELINES else row.feature_space
            if row.feature_space and metric in row.cells:
                column.setdefault((row.encoder, space), row.cells[metric])
        if column:
            columns.append(column)
            count = f"{figures.title}, n {next(iter(column.values())).n}"
            few = few_people_in(record.note for record in figures.records)
            counts.append(", ".join([count, *few]))
            header.append(f"{figures.task}: {figures.heading(metric)}")
    body = []
    for encoder, space in dict.fromkeys(row for column in columns for row in column):
        cells = [f"{encoder}, {space}" if space else encoder]
        for column in columns:
            cell, untrained = (column.get((e, space)) for e in (encoder, encoder + UNTRAINED))
            mark = _mark(cell, untrained) if cell and untrained else ""
            cells.append(f"{estimate_cell(cell)} {mark}".rstrip())
        body.append(cells)
    notes = [
        "; ".join(counts),
        f"{BETTER} significantly better, {WORSE} worse than the same network untrained "
        "(paired bootstrap, 95 %); no mark: not significantly different",
        *distinct(record.hardware for record in records),
    ]
    return as_text(Table("summary", header, body, notes))


def _mark(trained: Estimate, untrained: Estimate) -> str:
    if better(trained, untrained):
        return BETTER
    return WORSE if better(untrained, trained) else ""
