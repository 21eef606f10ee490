"""Records as a pandas table: what tables and curves are grouped and pivoted from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import pandas as pd

from linear_probe.records.record import Record

FIELDS = [field.name for field in dataclasses.fields(Record)]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record, one column a field, in the order of the records.

    Further columns: `factor`, `level` (float; NaN if there is no number) and `level_unit` of the
    condition, and `record`, the record itself.
    """
    rows = [
        (
            *(getattr(record, name) for name in FIELDS),
            str(record.condition.get("factor", "")),
            _level(record),
            str(record.condition.get("unit", "")),
            record,
        )
        for record in records
    ]
    columns = [*FIELDS, "factor", "level", "level_unit", "record"]
    return pd.DataFrame(rows, columns=columns)


def _level(record: Record) -> float:
    """Where a point lies on its curve; NaN if its level is no number."""
    level = record.condition.get("level")
    return float(level) if isinstance(level, int | float) and type(level) is not bool else math.nan
