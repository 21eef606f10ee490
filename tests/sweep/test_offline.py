"""Sweeps without a server: every trial once, judged by its figure, whatever is stopped or killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep.conftest import METRIC, Write, begun, sweep


def test_a_grid_runs_each_point_once(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert sweep(write(), out) == 0
    print(capsys.readouterr().out)
    found = [(one["folder"], one["given"]["x"]) for one in begun(out)]
    assert found == [("0000", "1"), ("0001", "2"), ("0002", "3"), ("0003", "4")]
    assert False
