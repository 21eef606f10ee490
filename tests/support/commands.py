"""Commands: run them, and read the sentence by which they refuse bad input."""

from __future__ import annotations

import pytest

from ssl_faces.cli import main


def run(*argv: object) -> int:
    """The exit code of `ssl-faces ARGV`."""
    return main(list(map(str, argv)))


def refusal(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one sentence by which `ssl-faces ARGV` refuses bad input, with exit code 2."""
    capsys.readouterr()
    assert run(*argv) == 2, argv
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert "usage:" not in printed.err
    (line,) = (line for line in printed.err.splitlines() if line.startswith("ssl-faces: error: "))
    return line.removeprefix("ssl-faces: error: ")
