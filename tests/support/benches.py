"""Runs of `ssl-faces bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssl_faces.cli import main


def run_bench(folder: Path, *argv: object) -> dict[str, Any]:
    """The JSON that `ssl-faces bench ARGV` writes."""
    out = folder / "bench.json"
    assert main(["bench", *map(str, argv), "--out", str(out)]) == 0
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured
