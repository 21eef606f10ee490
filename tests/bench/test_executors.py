"""`ssl-faces bench executors` starts a step on each executor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_step_on_each_executor(tmp_path: Path) -> None:
    # In its own process, as it starts Ray, and leaves nothing in the user's folder.
    words = ["bench", "executors", "--steps", "1", "--out", str(tmp_path / "figures.json")]
    subprocess.run(
        [sys.executable, "-m", "ssl_faces.cli", *words],
        env={**os.environ, "HOME": str(tmp_path / "home")},
        check=True,
        timeout=600,
    )
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    names = [row["executor"] for row in rows]
    assert names == ["(a bare process)", "local", "slurm --address local", "ray"]
    assert all(row["a step, s"] > 0 for row in rows)
    assert not (tmp_path / "home").exists()
