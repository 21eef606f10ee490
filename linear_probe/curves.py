"""Tables of curves: figures by how many labels a probe had, or how degraded its pictures were."""

from __future__ import annotations

from collections.abc import Sequence

from linear_probe.record import Record
from linear_probe.rows import cell, rows
from linear_probe.text_tables import Table

AS_IT_IS = "as it is"
"""Head of the column that holds the figure without the condition."""


def curves(records: Sequence[Record]) -> list[Table]:
    """One table for each task, data set, split, factor and first metric of `records`.

    Args:
        records: those with a `condition` make the curves; of those without, the same figures stand
            in a column of their own.
    """
    groups: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in records:
        if record.condition:
            key = (record.task, record.data_set, record.split, str(record.condition["factor"]))
            groups.setdefault(key, []).append(record)
    return [_curves(*key, found, records) for key, found in groups.items()]


def _curves(
    task: str,
    data_set: str,
    split: str,
    factor: str,
    found: Sequence[Record],
    records: Sequence[Record],
) -> Table:
    metric = found[0].metric
    found = [record for record in found if record.metric == metric]
    unit = str(found[0].condition.get("unit", ""))
    levels = sorted({float(record.condition["level"]) for record in found})
    plain = [
        r
        for r in records
        if not r.condition
        and (r.task, r.data_set, r.split, r.metric) == (task, data_set, split, metric)
    ]
    wanted = {(record.encoder, record.feature_space, record.probe) for record in found}
    columns: dict[str, list[Record]] = {
        f"{level:g} {unit}".strip(): [r for r in found if float(r.condition["level"]) == level]
        for level in levels
    }
    columns[AS_IT_IS] = [r for r in plain if (r.encoder, r.feature_space, r.probe) in wanted]
    if not columns[AS_IT_IS]:
        del columns[AS_IT_IS]
    by_column = {
        head: {
            (row.encoder, row.space, row.probe): cell(row.figures[metric]) for row in rows(these)
        }
        for head, these in columns.items()
    }
    keys = dict.fromkeys(key for cells in by_column.values() for key in cells)
    body = [
        [
            encoder,
            space or "-",
            *(cells.get((encoder, space, probe), "-") for cells in by_column.values()),
        ]
        for encoder, space, probe in keys
    ]
    return Table(
        f"{task}: {data_set}, {split}: {metric} {found[0].unit} by {factor}",
        ["encoder", "features", *by_column],
        body,
        [text for text in dict.fromkeys(record.protocol for record in found) if text],
    )
