"""Folders of frozen features on the disk: how large they are, and what makes room in them.

Each run keeps the features that it has computed in its `features`, so that another run need not.
Features that were not used for the longest time are removed where a folder would hold more than
`SSL_FACES_FEATURES_GB`; they are computed again where they are needed again.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from linear_probe.features.files import PIECES_SUFFIX, lock
from ssl_faces import InputError
from ssl_faces.common.files import write_failure

ROOM = "SSL_FACES_FEATURES_GB"
USUAL_ROOM = 20.0
"""Gigabytes that a folder of features may take."""

# As `FeatureCache` calls them; nothing else is ever removed.
_FEATURES = re.compile(r".+-[0-9a-f]{20}-.+\.safetensors")
_PIECES = re.compile(rf".+-[0-9a-f]{{20}}{re.escape(PIECES_SUFFIX)}")
_LOCK = re.compile(r"\..+-[0-9a-f]{20}\.lock")


class Entry(NamedTuple):
    """Features of one space, or what an interrupted run has computed of one source: a file or a
    folder of pieces, its size in bytes, and when it was last used, in seconds since 1970."""

    path: Path
    size: int
    used: float

    def remove(self) -> bool:
        """Whether it is gone; pieces that a process is at work on stay."""
        if not self.path.is_dir():
            self.path.unlink(missing_ok=True)
            return True
        with lock(self.path.with_name(f".{self.path.stem}.lock"), wait=False) as free:
            if free:
                shutil.rmtree(self.path, ignore_errors=True)
            return free


def entries(folder: Path) -> list[Entry]:
    """All features in a folder, those that were not used for the longest time first."""
    features = []
    with suppress(FileNotFoundError), os.scandir(folder) as files:
        for file in files:
            with suppress(OSError):  # removed meanwhile by another process
                if file.is_file() and _FEATURES.fullmatch(file.name):
                    features.append(_entry([Path(file)], Path(file)))
                elif file.is_dir(follow_symlinks=False) and _PIECES.fullmatch(file.name):
                    features.append(_entry([*Path(file).iterdir()], Path(file)))
    return sorted(features, key=lambda entry: entry.used)


def _entry(files: Sequence[Path], path: Path) -> Entry:
    return Entry(path, sum(file.stat().st_size for file in files), path.stat().st_mtime)


def note_use(paths: Collection[Path]) -> None:
    """Note that features are used now."""
    for path in paths:
        with suppress(OSError):
            os.utime(path)


def make_room(folder: Path, in_use: Collection[Path]) -> None:
    """Remove features, but those `in_use`, until the folder is as small as it has to be; InputError
    if `SSL_FACES_FEATURES_GB` is no number."""
    room = room_in_bytes()
    features = entries(folder)
    size = sum(entry.size for entry in features)
    for entry in features:
        if size <= room:
            return
        if entry.path not in in_use and entry.remove():
            size -= entry.size


def room_in_bytes() -> float:
    """Bytes that a folder of features may take; InputError if `SSL_FACES_FEATURES_GB` is no
    number."""
    text = os.environ.get(ROOM, "").strip()
    try:
        gigabytes = float(text) if text else USUAL_ROOM
    except ValueError:
        gigabytes = math.nan
    if not gigabytes >= 0:
        raise InputError(f"{ROOM}: '{text}'; give gigabytes, a number from 0")
    return gigabytes * 1e9


def find_caches(folders: Sequence[Path]) -> Iterator[tuple[Path, list[Entry]]]:
    """Folders that hold features, within these folders, with what they hold; InputError if there is
    no such folder."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give one that holds runs")
        for place, names, _ in os.walk(folder):
            names[:] = sorted(name for name in names if not name.endswith(PIECES_SUFFIX))
            if found := entries(Path(place)):
                yield Path(place), found


def as_size(size: float) -> str:
    """Bytes in words."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def report_caches(folders: list[Path], clean: bool) -> Iterator[str]:
    """Lines on the features within these folders (of none: `runs`), which `clean` removes;
    InputError if there is no such folder, or features can't be removed."""
    most = as_size(room_in_bytes())
    folders = folders or [folder for folder in (Path("runs"),) if folder.is_dir()]
    total = 0
    for place, features in find_caches(folders):
        removed = [entry for entry in features if clean and _removed(entry)]
        if clean:
            _remove_empty(place)
        size = sum(entry.size for entry in (removed if clean else features))
        total += size
        day = time.strftime("%Y-%m-%d", time.localtime(max(e.used for e in features)))
        yield f"{place}: {as_size(size)}, {'removed' if clean else f'last used {day}'}"
    where = ", ".join(map(str, folders)) or "runs"
    if clean:
        yield f"{as_size(total)} removed in {where}; runs that need the features compute them again"
    else:
        yield (
            f"{as_size(total)} in {where}; a folder keeps at most {most} ({ROOM}), what was used "
            "last; --clean removes all"
        )


def _removed(entry: Entry) -> bool:
    try:
        return entry.remove()
    except OSError as error:
        raise InputError(f"{entry.path}: {write_failure(error)}") from error


def _remove_empty(place: Path) -> None:
    """What is left of an emptied folder: locks of killed runs, and the folder itself."""
    if entries(place):
        return
    for path in place.iterdir():
        if _LOCK.fullmatch(path.name):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        place.rmdir()  # unless it holds other files
