"""Checks of output files: never an input, and no existing file without `--overwrite`.

Folders of runs and packs are exempt: the same command resumes them.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from ssl_faces.common.errors import InputError


def add_overwrite(parser: argparse.ArgumentParser, option: str = "--out") -> None:
    parser.add_argument("--overwrite", action="store_true", help=f"replace an existing {option}")


def check_output(
    out: Path,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
    option: str = "--out",
) -> None:
    """Check an output file before anything is read or computed.

    Args:
        out: the file to write.
        overwrite: whether it may be replaced.
        inputs: inputs of the command, which are never replaced.
        option: the argument that names the file.

    Raises:
        InputError: it is an input (also by a link or another case), a folder or a device, or it
            exists and `overwrite` is False.
    """
    refuse_input(out, inputs, option)
    if not os.path.lexists(out):
        return
    if out.is_dir():
        raise InputError(f"{option} {out}: is a folder; give the name of a file")
    if out.exists() and not out.is_file():
        raise InputError(f"{option} {out}: is no regular file; give the name of a file")
    if not overwrite:
        raise InputError(
            f"{option} {out}: exists already; give another name, or --overwrite to replace it"
        )


def refuse_input(
    out: Path, inputs: Iterable[str | os.PathLike[str]], option: str = "--out"
) -> None:
    """Raise InputError if `out`, a file or a folder, is one of the inputs."""
    for place in inputs:
        if same_file(out, Path(place).expanduser()):
            raise InputError(
                f"{option} {out}: is the input {os.fsdecode(place)}, which would be replaced; give "
                "another name"
            )


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths are the same existing file or folder."""
    try:
        return first.samefile(second)
    except (OSError, ValueError):
        return False
