"""What `--encoder` and `--data` may name; without torch, for checks before slow imports."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ssl_faces.common.arguments import check_exists
from ssl_faces.common.files import existing_folder
from ssl_faces.encoders.places import find_encoder

RENDERED = "rendered"
TEST_BED_NAMES = ("digits", "shapes")
"""Data without a folder."""

_TITLED = re.compile(r"([A-Za-z0-9][\w .+-]*)=(.+)", re.DOTALL)
_FILES = (".onnx", ".npz", ".parquet")


def title_and_name(text: str) -> tuple[str | None, str]:
    """`TITLE=NAME` in two; the title is None if there is none, or if `text` is a path."""
    match = None if os.path.lexists(text) else _TITLED.fullmatch(text)
    return (None, text) if match is None else (match[1].strip(), match[2])


def check_encoder(text: str) -> None:
    """Raise InputError if what `--encoder` names can't exist: a missing file or folder."""
    place = Path(title_and_name(text)[1].partition("?")[0])
    if place.suffix in _FILES:
        check_exists(place)
    elif ":" not in text:  # else a library, a package or a module
        find_encoder(place)


def check_data(data: str | Path | None) -> None:
    """Raise InputError if what `--data` names is neither a folder nor known without one."""
    name = str(data).partition(":")[0]
    if data is not None and name != RENDERED and str(data) not in TEST_BED_NAMES:
        existing_folder(data, "data")
