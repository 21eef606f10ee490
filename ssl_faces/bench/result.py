"""The result of a bench: a table to read and a JSON file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ssl_faces.common.files import replace_file

Value = float | int | str | None
GIB = 2**30
_PACKAGES = ("torch", "pytorch-lightning", "kornia", "numpy")


@dataclass
class Result:
    """Figures of one bench.

    Attributes:
        bench: its name on the command line.
        settings: what was measured, and how: sizes, rounds, threads …
        rows: one dict per row of the table, column to value; rows may lack columns. Names of
            columns end in their unit (`ms`, `pictures/s`, `GiB`).
        notes: sentences under the table.
        details: figures that are only in the JSON.
    """

    bench: str
    settings: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Value]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def table(self) -> str:
        """Settings, rows and notes as Markdown."""
        about = ", ".join(f"{key} {_text(value)}" for key, value in self.settings.items())
        return "\n".join([f"bench {self.bench}: {about}", "", markdown(self.rows), *self.notes])

    def write(self, path: Path) -> None:
        """Write JSON with the figures, the machine and the versions; InputError if it can't."""
        made = datetime.now(UTC).isoformat(timespec="seconds")
        content = {"bench": self.bench, "made": made, "machine": machine()} | asdict(self)
        replace_file(path, (json.dumps(content, indent=2, default=str) + "\n").encode())


def markdown(rows: Sequence[Mapping[str, Value]]) -> str:
    """Rows as a Markdown table; columns in order of their first appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    cells = [columns, ["---"] * len(columns)]
    cells += [[_text(row.get(column)) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def machine() -> dict[str, Any]:
    """Hardware and versions that the figures were measured with."""
    import torch

    from ssl_faces.common.hardware import hardware
    from ssl_faces.common.run_record import package_versions

    versions = package_versions()
    return {
        "hardware": hardware("cuda" if torch.cuda.is_available() else "cpu"),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: versions[name] for name in _PACKAGES if name in versions},
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
