"""Records as a pandas table: what tables and curves are grouped and pivoted from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import pandas as pd

from linear_probe.records.record import Record

FIELDS = [field.name for field in dataclasses.fields(Record)]


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record, one column a field, in the order of the records.

    Further columns: `factor`, `level` (float; NaN if there is no number) and `level_unit` of the
    condition, and `record`, the record itself.
    """
    records = list(records)
    table = pd.DataFrame([[getattr(r, name) for name in FIELDS] for r in records], columns=FIELDS)
    table["factor"] = [str(r.condition.get("factor", "")) for r in records]
    levels = pd.Series([r.condition.get("level") for r in records], dtype=object)
    table["level"] = pd.to_numeric(levels, errors="coerce").astype(float)
    table["level_unit"] = [str(r.condition.get("unit", "")) for r in records]
    table["record"] = records
    return table
