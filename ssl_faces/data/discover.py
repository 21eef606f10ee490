"""Face sets found in a folder by what it holds, so that one path is all a config must name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from ssl_faces.data.faces import FaceSet, Part
from ssl_faces.data.fer2013 import Fer2013, expression_of
from ssl_faces.data.folder import (
    PictureFolder,
    entry_of,
    existing_folder,
    is_picture_name,
    pictures_under,
    subfolders,
)
from ssl_faces.data.lfw import LFW, folder_of_people
from ssl_faces.data.utkface import UTKFace, labels_of
from ssl_faces.data.youtube_keypoints import YouTubeKeypoints
from ssl_faces.errors import InputError

_log = logging.getLogger(__name__)

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz")

_DEPTH = 2
"""How many folders below the root a data set may lie."""


def default_data_root() -> Path:
    """Where real faces are looked for: `$SSL_FACES_DATA`, else `~/.cache/ssl-faces/data`."""
    given = os.environ.get("SSL_FACES_DATA")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "ssl-faces" / "data"


def find_face_sets(root: str | Path, part: Part = "train") -> list[FaceSet]:
    """The face sets that lie in `root`, up to two folders deep, or that `root` itself is.

    FER-2013, LFW, UTKFace and YouTube keypoints are told by what a folder holds, not by its name.
    A root with none of them but with pictures is one `PictureFolder`, of part `all` since nothing
    scores on it; asked for `test`, it gives an empty list. Pictures beside a recognised data set
    are left out, with a warning in the log that names their folder.

    Raises:
        InputError: the folder is missing, holds neither a data set nor pictures (or only their
            archives), holds one data set twice, or holds a data set that can't be read.
    """
    folder = existing_folder(root, "data")
    found: list[tuple[type[FaceSet], Path]] = []
    unknown: list[Path] = []
    _search(folder, _DEPTH, found, unknown)
    if found:
        places: dict[type[FaceSet], Path] = {}
        for kind, place in found:
            if kind in places:
                raise InputError(
                    f"{folder} holds {kind.__name__} twice, in {places[kind]} and {place}; "
                    "move one of them away"
                )
            places[kind] = place
        for place in unknown:
            _log.warning("%s is no data set known here: its pictures are left out", place)
        return [_MAKERS[kind](place, part) for kind, place in found]
    if unknown:
        return [] if part == "test" else [PictureFolder(folder)]
    archives = sorted(n for n in os.listdir(folder) if n.lower().endswith(_ARCHIVE_SUFFIXES))
    if archives:
        tool = "zipfile" if archives[0].lower().endswith(".zip") else "tarfile"
        raise InputError(
            f"{folder} holds archives ({', '.join(archives)}) and no pictures: unpack each first, "
            f"as in `python -m {tool} -e {folder / archives[0]} {default_data_root()}`, and give "
            "the folder you unpacked to"
        )
    raise InputError(
        f"{folder} holds no pictures; give a folder with pictures, or with FER-2013, LFW, UTKFace "
        "or the YouTube keypoints unpacked"
    )


# Each class here takes (root, part); FaceSet itself does not.
_MAKERS: dict[type[FaceSet], Callable[[Path, Part], FaceSet]] = {
    Fer2013: Fer2013,
    LFW: LFW,
    UTKFace: UTKFace,
    YouTubeKeypoints: YouTubeKeypoints,
}


def _search(
    folder: Path, depth: int, found: list[tuple[type[FaceSet], Path]], unknown: list[Path]
) -> None:
    kind = _kind_of(folder)
    if kind is not None:
        found.append((kind, folder))
        return
    children = subfolders(folder)
    if depth == 0:
        if pictures_under(folder):
            unknown.append(folder)
        return
    if any(is_picture_name(name) for name in os.listdir(folder)):
        unknown.append(folder)
    for child in children:
        _search(child, depth - 1, found, unknown)


def _kind_of(folder: Path) -> type[FaceSet] | None:
    if _is_fer2013(folder):
        return Fer2013
    if _is_youtube_keypoints(folder):
        return YouTubeKeypoints
    if _is_utkface(folder):
        return UTKFace
    if folder_of_people(folder) == folder:
        return LFW
    return None


def _is_fer2013(folder: Path) -> bool:
    if entry_of(folder, "fer2013.csv") is not None:
        return True
    usages = [entry_of(folder, name) for name in ("Training", "PublicTest", "train", "test")]
    return any(
        sum(expression_of(child.name) is not None for child in subfolders(usage)) >= 2
        for usage in usages
        if usage is not None and usage.is_dir()
    )


def _is_youtube_keypoints(folder: Path) -> bool:
    labels = entry_of(folder, "labels.csv")
    if labels is None or entry_of(folder, "images") is None:
        return False
    with labels.open(encoding="utf-8-sig", errors="replace") as stream:
        header = stream.readline(4096).split(",")
    return "yaw" in header and "x0" in header


def _is_utkface(folder: Path) -> bool:
    """Whether most of the first pictures directly in `folder` are named as UTKFace names them."""
    with os.scandir(folder) as entries:
        names = list(islice((e.name for e in entries if is_picture_name(e.name)), 20))
    labelled = sum(not isinstance(labels_of(name), str) for name in names)
    return 2 * labelled > len(names)
