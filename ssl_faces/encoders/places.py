"""Folders of saved encoders by name or path; without torch, for checks before slow imports."""

from __future__ import annotations

import os
from pathlib import Path

from ssl_faces.common.errors import InputError

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
    candidates = (path, path / "encoder", RELEASED / path)
    return next((folder for folder in candidates if (folder / CARD_FILE).is_file()), None)
