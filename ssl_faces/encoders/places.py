"""Folders of saved encoders by name or path; without torch, for checks before slow imports."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular

CARD_FILE = "card.json"

_INSTALLED = Path(__file__).parents[1] / "released"

RELEASED = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "checkpoints"
"""Folder of the released encoders: in the installed package, or in the clone."""


def is_encoder(name_or_path: str | os.PathLike[str]) -> bool:
    """Whether there is a saved encoder of this name, as in `load_encoder`."""
    return _folder_of(Path(name_or_path)) is not None


def find_encoder(name_or_path: str | os.PathLike[str]) -> Path:
    """The folder of a saved encoder, named as in `load_encoder`; InputError if there is none."""
    path = Path(name_or_path)
    if (folder := _folder_of(path)) is not None:
        return folder
    released = sorted(p.parent.name for p in RELEASED.glob(f"*/{CARD_FILE}"))
    known = f"a released name ({', '.join(released)})" if released else "a released name"
    raise InputError(
        f"encoder {path}: no {CARD_FILE} there; give the folder that a run saved its encoder to, "
        f"or {known}"
    )


def saved_encoder(text: str) -> str:
    """An argument's type: what `find_encoder` finds, checked before slow imports."""
    find_encoder(text)
    return text


def _folder_of(path: Path) -> Path | None:
    for folder in (path, path / "encoder"):
        if (folder / CARD_FILE).is_file():
            return folder
    return released_folder(path)


def released_folder(name: str | os.PathLike[str]) -> Path | None:
    """The folder of a released encoder by its name, or by `NAME@VERSION`; None if there is none.

    `NAME` is the newest version; older ones are in folders `NAME@VERSION` beside it. Raises
    InputError: a file that is no card.
    """
    folder = RELEASED / name
    if (folder / CARD_FILE).is_file():
        return folder
    newest, _, wanted = os.fspath(name).rpartition("@")
    path = RELEASED / newest / CARD_FILE
    if newest and path.is_file() and wanted == str(version_of(read_card_file(path))):
        return path.parent
    return None


def version_of(card: Mapping[str, Any]) -> int:
    """The version of a release, from 1."""
    return int(card.get("version", 1))


def read_card_file(path: Path) -> dict[str, Any]:
    """A card as a dictionary; InputError if it is none."""
    try:
        card = json.loads(regular(path).read_text())
        if not isinstance(card, dict) or not isinstance(card.get("config"), dict):
            raise ValueError("no 'config'")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not an encoder's card ({error}); save the encoder again with save_encoder"
        ) from error
    return card
