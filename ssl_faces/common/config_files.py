"""Config files by name: `simclr_small` is `configs/method/simclr_small.yaml`, also in a wheel."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from ssl_faces.common.errors import InputError

_INSTALLED = Path(__file__).parents[1] / "configs"

CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs"
"""The folder `configs`: in the installed package, or in the clone."""

FIT = ("method", "data")
HEADS, AUDITS = ("head",), ("audit",)
"""Folders of the configs of `ssl-faces fit`, `linear-probe head` and `linear-probe audit`."""
ALL = (*FIT, *HEADS, *AUDITS)

_NAME = re.compile(r"[A-Za-z0-9][\w+-]*(/[\w+-]+)?")
_PREFIX = "configs/"


def find_config(name: str | os.PathLike[str], folders: Sequence[str] = FIT) -> Path:
    """The file that a path or the name of a config stands for.

    In this order: the path itself, `NAME.yaml` in the current folder, `NAME.yaml` in `folders` of
    `configs`. `FOLDER/NAME` and `configs/FOLDER/NAME.yaml` are found from any current folder.
    Raises InputError: a name of no config.

    Args:
        folders: of `configs`; an empty string is `configs` itself.

    Returns:
        The file; a path that looks like no name is returned as it is, though it may not exist.
    """
    text = os.fspath(name)
    is_name = _NAME.fullmatch(text)
    paths = [Path(text)]
    if text.startswith(_PREFIX):
        paths.append(CONFIGS / text.removeprefix(_PREFIX))
    elif is_name:
        shipped = [CONFIGS / folder / f"{text}.yaml" for folder in (*folders, "")]
        paths += [Path(f"{text}.yaml"), *shipped]
    for path in paths:
        if os.path.isfile(path):
            return path
    if not is_name or os.path.lexists(text):
        return Path(text)
    known = sorted({path.stem for folder in folders for path in (CONFIGS / folder).glob("*.yaml")})
    near = get_close_matches(text, known, n=4, cutoff=0.5)
    hint = f"near it are {', '.join(near)}" if near else f"there are {', '.join(known)}"
    raise InputError(f"config '{text}': no such file, and no config has this name; {hint}")


def with_files(words: Sequence[str], folders: Sequence[str] = FIT) -> list[str]:
    """Arguments with the files that the names behind `-c` and `--config` stand for. Raises
    InputError: a name of no config."""
    found: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if before in ("-c", "--config") and word:
            word = str(find_config(word, folders))
        elif option == "--config" and equals and value:
            word = f"{option}={find_config(value, folders)}"
        found.append(word)
    return found
