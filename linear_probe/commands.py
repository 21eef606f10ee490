"""The command lines that filled a run's folder, so that a report can say how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from ssl_faces.files import replace_file
from ssl_faces.passwords import hidden

COMMANDS_FILE = "commands.txt"


def add_command(folder: str | Path, arguments: Sequence[str]) -> None:
    """Note a `linear-probe` command line, unless it is there already.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    path = Path(folder) / COMMANDS_FILE
    line = shlex.join(["linear-probe", *map(hidden, arguments)])
    lines = read_commands(folder)
    if line not in lines:
        text = "".join(f"{one}\n" for one in [*lines, line])
        replace_file(path, text.encode(errors="surrogateescape"))


def read_commands(folder: str | Path) -> list[str]:
    """The command lines noted in a folder; none where there are none, or they can't be read."""
    try:
        data = (Path(folder) / COMMANDS_FILE).read_bytes()
    except OSError:
        return []
    return [line for line in data.decode(errors="surrogateescape").split("\n") if line]
