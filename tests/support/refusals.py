"""Refusals: bad input gives one sentence and exit code 2."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from ssl_faces.cli import main


def refusal(
    argv: Sequence[object],
    capsys: pytest.CaptureFixture[str],
    command: Callable[[list[str]], int] = main,
) -> str:
    """The one sentence by which a command refuses its arguments."""
    capsys.readouterr()
    assert command(list(map(str, argv))) == 2, argv
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if ": error: " in line]
    assert len(lines) == 1, printed.err
    assert "Traceback" not in printed.err
    assert "usage:" not in printed.err
    return lines[0].partition(": error: ")[2]
