"""What a bench found: a table to read and a JSON file to keep."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ssl_faces.common.files import replace_file

Value = float | int | str | None


@dataclass
class Result:
    """One bench's figures.

    Attributes:
        bench: its name on the command line.
        settings: what was measured, and how: sizes, rounds, threads …
        rows: one dict a row of the table, column to value; rows may lack columns. Names of columns
            end in their unit (`ms`, `pictures/s`, `GiB`).
        notes: sentences under the table: what limits a figure, what was left out.
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
        """As JSON, with the machine and the versions that the figures are of.

        Raises:
            InputError: the file can't be written.
        """
        content = {
            "bench": self.bench,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "settings": self.settings,
            "rows": self.rows,
            "notes": self.notes,
            "details": self.details,
        }
        replace_file(path, (json.dumps(content, indent=2, default=str) + "\n").encode())


def markdown(rows: Sequence[Mapping[str, Value]]) -> str:
    """Rows as a Markdown table; its columns are those of the rows in order of appearance."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    for row in rows:
        lines.append("| " + " | ".join(_text(row.get(column)) for column in columns) + " |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import torch

    from ssl_faces.common.hardware import hardware

    device = "cuda" if torch.cuda.is_available() else "cpu"
    versions = {}
    for package in ("torch", "pytorch-lightning", "kornia", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "hardware": hardware(device),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
