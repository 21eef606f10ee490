"""The metrics that a run has logged, from its CSV files."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd

from ssl_faces.common.files import regular

Curve = dict[int, float]
"""Values by training step, in the order of the steps."""


def read_logged(run: Path) -> dict[str, Curve]:
    """All finite values that a run has logged, by metric; also of a running one.

    Each start of a run has its own file. A resumed run repeats the steps after its checkpoint: its
    values replace earlier ones of these steps. An unfinished last line is ignored.
    """
    curves: dict[str, Curve] = {}
    for file in _files(run):
        table = _read(file)
        if table.empty:
            continue
        first = table.index[0]
        curves = {name: {s: v for s, v in c.items() if s < first} for name, c in curves.items()}
        for name, values in table.items():
            curves.setdefault(str(name), {}).update(values.dropna().to_dict())
    return {name: dict(sorted(curve.items())) for name, curve in sorted(curves.items()) if curve}


def _files(run: Path) -> list[Path]:
    numbers = {p: re.fullmatch(r"version_(\d+)", p.name) for p in (run / "csv").glob("version_*")}
    folders = sorted((int(number[1]), path) for path, number in numbers.items() if number)
    return [path / "metrics.csv" for _, path in folders]


def _read(file: Path) -> pd.DataFrame:
    """Finite values by step and metric."""
    try:
        text = regular(file).read_text(encoding="utf-8", errors="replace")
        lines = io.StringIO(text[: text.rfind("\n") + 1])
        table = pd.read_csv(lines, dtype=str, index_col=False, on_bad_lines="skip")
        table.index = pd.to_numeric(table["step"], errors="coerce")
    except (OSError, ValueError, KeyError):
        return pd.DataFrame()
    table = table[np.isfinite(table.index)].drop(columns=["step", "epoch"], errors="ignore")
    table.index = table.index.astype(int)
    values = table.apply(pd.to_numeric, errors="coerce").astype(float)
    return values.replace([np.inf, -np.inf], np.nan)
