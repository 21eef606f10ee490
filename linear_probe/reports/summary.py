"""One small table of all tasks: a row an encoder, the main figure of each task a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from linear_probe.records.record import Record
from linear_probe.reports.cards import UNTRAINED
from linear_probe.reports.tables import Cell, tables
from linear_probe.reports.text_tables import Table, as_text
from linear_probe.sources.baselines import BASELINES
from linear_probe.stats.paired import difference

BETTER, WORSE = "▲", "▼"
_BASELINES = {baseline.name for baseline in BASELINES}

Replicates = Mapping[tuple[str | int, ...], np.ndarray]


def summary(records: Sequence[Record], replicates: Replicates) -> str:
    """The first metric of each task, by encoder and feature space, as text.

    A mark shows where a trained encoder is significantly better or worse than the same network
    untrained: the 95 % interval of the paired bootstrap difference leaves out 0 for every seed.

    Args:
        records: of one or several runs.
        replicates: of the bootstrap, [B], by `Record.key`; without them no cell has a mark.
    """
    header, columns, data = [], [], []
    for table in tables(records):
        metric = table.metrics[0]
        column: dict[tuple[str, str], Cell] = {}
        for row in table.rows:
            # A task resizes the images of a baseline as it needs: one row for all its spaces.
            space = "" if row.encoder in _BASELINES else row.feature_space
            if row.feature_space and metric in row.cells:
                column.setdefault((row.encoder, space), row.cells[metric])
        if column:
            header.append(f"{table.task}: {table.headed(metric)}")
            columns.append(column)
            data.append(f"{table.title}, n {next(iter(column.values())).n}")
    body = []
    for encoder, space in dict.fromkeys(row for column in columns for row in column):
        name = f"{encoder}, {space}" if space else encoder
        cells = []
        for column in columns:
            cell, other = (column.get((e, space)) for e in (encoder, encoder + UNTRAINED))
            mark = _mark(cell, other, replicates) if cell and other else ""
            cells.append(f"{cell} {mark}".rstrip() if cell else "-")
        body.append([name, *cells])
    notes = [
        "; ".join(data),
        f"{BETTER} significantly better, {WORSE} worse than the same network untrained "
        "(paired bootstrap, 95 %); no mark: not significantly different",
        *dict.fromkeys(record.hardware for record in records),
    ]
    return as_text(Table("summary", ["encoder, features", *header], body, notes))


def _mark(trained: Cell, untrained: Cell, replicates: Replicates) -> str:
    if trained.seeds != untrained.seeds:
        return ""
    signs = set()
    for one, other in zip(trained.records, untrained.records, strict=True):
        of_one, of_other = replicates.get(one.key), replicates.get(other.key)
        if of_one is None or of_other is None or one.sample != other.sample:
            return ""
        found = difference(one, other, of_one, of_other)
        if found.low <= 0 <= found.high:
            return ""
        signs.add((found.low > 0) == one.higher_is_better)
    return (BETTER if signs.pop() else WORSE) if len(signs) == 1 else ""
