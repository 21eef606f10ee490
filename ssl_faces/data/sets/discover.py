"""Face sets recognised in a folder by its contents, so that one path is all a config must name."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import existing_folder
from ssl_faces.data.faces import EmptyPart, FaceSet, Part
from ssl_faces.data.sets.folder import ImageFolder, images_under, is_image_name, subfolders
from ssl_faces.data.sets.recognised import RecognisedSet, registered
from ssl_faces.data.store.held_out import COPIES, NEAR_COPIES, OF_PEOPLE

_log = logging.getLogger(__name__)

_ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz")

_DEPTH = 2
"""How many folders below the root a data set may lie."""


def default_data_root() -> Path:
    """The default folder of real faces: `$SSL_FACES_DATA`, else `~/.cache/ssl-faces/data`."""
    place = os.environ.get("SSL_FACES_DATA")
    return Path(place).expanduser() if place else Path.home() / ".cache" / "ssl-faces" / "data"


def usual_faces() -> Path | None:
    """The default folder if it holds anything; None: rendered faces serve.

    Raises:
        InputError: `$SSL_FACES_DATA` names a folder that is missing or empty.
    """
    root = default_data_root()
    if root.is_dir() and any(root.iterdir()):
        return root
    if os.environ.get("SSL_FACES_DATA"):
        raise InputError(
            f"$SSL_FACES_DATA: {root} is missing or empty; put face sets there, unset the "
            "variable, or give --data rendered"
        )
    return None


def find_face_sets(root: str | Path, part: Part = "train") -> list[FaceSet]:
    """The face sets that lie in `root`, up to two folders deep, or that `root` itself is.

    The data sets of `registered()` are recognised by a folder's contents, not by its name. Sets of
    the same images, such as FERPlus and FER-2013, share a folder. Sets that are all test are listed
    for the part `train` too, empty: what they hold out counts. A root with none of them but with
    images is one `ImageFolder`, of part `all` since nothing scores on it; for the part `test`
    the list is empty. Images beside a recognised data set are left out, with a warning in the log
    that names their folder.

    Raises:
        InputError: the folder is missing, holds neither a data set nor images (or only their
            archives), holds one data set twice, or holds a data set that can't be read.
    """
    folder = existing_folder(root, "data")
    matches: list[tuple[type[RecognisedSet], Path]] = []
    unknown: list[Path] = []
    _search(folder, _DEPTH, matches, unknown)
    if matches:
        return _recognised_sets(folder, part, matches, unknown)
    if unknown:
        return [] if part == "test" else [ImageFolder(folder)]
    archives = sorted(n for n in os.listdir(folder) if n.lower().endswith(_ARCHIVE_SUFFIXES))
    if archives:
        tool = "zipfile" if archives[0].lower().endswith(".zip") else "tarfile"
        raise InputError(
            f"{folder} holds archives ({', '.join(archives)}) and no pictures: unpack each first, "
            f"as in `python -m {tool} -e {folder / archives[0]} {default_data_root()}`, and give "
            "the folder you unpacked to"
        )
    raise InputError(
        f"{folder} holds no pictures; give a folder with pictures, or with FER-2013, LFW, UTKFace, "
        "the YouTube keypoints or another set of the README unpacked"
    )


def _recognised_sets(
    root: Path,
    part: Part,
    matches: Sequence[tuple[type[RecognisedSet], Path]],
    unknown: Sequence[Path],
) -> list[FaceSet]:
    places: dict[type[RecognisedSet], Path] = {}
    for kind, place in matches:
        if kind in places and not kind.repeatable:
            raise InputError(
                f"{root} holds {kind.__name__} twice, in {places[kind]} and {place}; "
                "move one of them away"
            )
        places[kind] = place
    for place in dict.fromkeys(places.values()):
        for warning in filter(None, (kind.incomplete(place) for kind in registered())):
            _log.warning("%s", warning)
    for place in unknown:
        _log.warning("%s is no data set known here: its pictures are left out", place)
    sets: dict[str, FaceSet] = {}
    for kind, place in matches:
        try:
            faces = kind(place, part)
        except EmptyPart as error:
            if part != "test" or len(matches) == 1:
                raise
            _log.warning("%s: left out: %s", place, error)
            continue
        faces.place = place
        if faces.name in sets:
            raise InputError(
                f"{root} holds two {kind.folder_title} called {faces.title}; rename one"
            )
        sets[faces.name] = faces
    return list(sets.values())


_KEPT_BACK = {
    OF_PEOPLE: "of test people",
    COPIES: "copies of test images",
    NEAR_COPIES: "near-copies of test images",
    "left_out_for_the_online_probe": "for the online probe",
    "left_out_as_only_pictures_of_their_person": "without a second one of their person",
}


def recognised(
    sets: Sequence[FaceSet], counts: Sequence[Mapping[str, Any]], take_all: str
) -> list[str]:
    """What each folder was recognised as, how many of its images are trained on, and why the
    others are not; a line for each recognised set.

    Args:
        counts: of each set, as the card and a pack's index have them.
        take_all: how to train on test images too.
    """
    lines = []
    by_name = {about["name"]: about for about in counts}
    for faces in sets:
        if faces.place is None or not isinstance(faces, RecognisedSet):
            continue
        kind = faces.folder_title or faces.title
        about = by_name.get(faces.name, {})
        line = (
            f"{faces.place}: recognised as {kind}; {about.get('pictures', 0):,} images to train on"
        )
        whys = [f"{about[key]:,} {why}" for key, why in _KEPT_BACK.items() if about.get(key)]
        test = faces.test_part() if faces.part == "train" else None
        if test is not None and len(test):
            split = f" ({test.split})" if test.split else ""
            whys.insert(0, f"{len(test):,} as its test part{split}")
        if whys:
            line += f"; kept back: {', '.join(whys)}; {take_all}"
        lines.append(line)
    return lines


def _search(
    folder: Path, depth: int, matches: list[tuple[type[RecognisedSet], Path]], unknown: list[Path]
) -> None:
    kinds = _kinds_of(folder)
    if kinds:
        matches += [(kind, folder) for kind in kinds]
        return
    if depth == 0:
        if images_under(folder):
            unknown.append(folder)
        return
    if any(is_image_name(name) for name in os.listdir(folder)):
        unknown.append(folder)
    for child in subfolders(folder):
        _search(child, depth - 1, matches, unknown)


def _kinds_of(folder: Path) -> list[type[RecognisedSet]]:
    """The data set that a folder holds, and those of the same images."""
    main = (kind for kind in registered() if not kind.same_images_as)
    also = (kind for kind in registered() if kind.same_images_as)
    first = next((kind for kind in main if kind.recognises(folder)), None)
    return [*([first] if first else []), *(kind for kind in also if kind.recognises(folder))]
