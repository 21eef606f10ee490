"""The figures that a run has logged, by their names, from its folder's CSV files."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from ssl_faces.common.files import regular

Curve = dict[int, float]
"""Values by training step, in the order of the steps."""


def read_logged(run: Path) -> dict[str, Curve]:
    """All that the run in this folder has logged so far, also while it goes on.

    A run that was stopped has a file for each time that it was started; where two tell of one step
    the later start is right, which began from a checkpoint before it. What is not finite is left
    out, as is a line that is being written.
    """
    found: dict[str, Curve] = {}
    for file in _files(run):
        first = True
        for step, values in _rows(file):
            if first:
                # This start knows nothing of later steps of the one before.
                found = {name: _before(curve, step) for name, curve in found.items()}
                first = False
            for name, value in values.items():
                found.setdefault(name, {})[step] = value
    return {name: dict(sorted(curve.items())) for name, curve in sorted(found.items()) if curve}


def _before(curve: Curve, step: int) -> Curve:
    return {at: value for at, value in curve.items() if at < step}


def _files(run: Path) -> list[Path]:
    numbered = []
    for path in (run / "csv").glob("version_*/metrics.csv"):
        number = re.fullmatch(r"version_(\d+)", path.parent.name)
        if number:
            numbered.append((int(number[1]), path))
    return [path for _, path in sorted(numbered)]


def _rows(file: Path) -> list[tuple[int, dict[str, float]]]:
    """Step and finite values of each whole line."""
    try:
        text = regular(file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1]
    found = []
    for row in csv.DictReader(io.StringIO(whole)):
        values = {}
        for name, cell in row.items():
            if not isinstance(cell, str) or not cell or name in (None, "step", "epoch"):
                continue
            try:
                value = float(cell)
            except ValueError:
                continue
            if math.isfinite(value):
                values[name] = value
        try:
            found.append((int(float(row["step"])), values))
        except (KeyError, ValueError, TypeError, OverflowError):
            continue
    return found
