"""Face sets found in a folder by what it holds, so that one path is all a config must name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet, Part
from ssl_faces.data.sets import (
    affectnet,
    aflw2000,
    biwi,
    cfp,
    ckplus,
    class_folders,
    cplfw,
    ferplus,
    oulucasia,
    rafdb,
    sfew,
    w300lp,
)
from ssl_faces.data.sets.affectnet import AffectNet
from ssl_faces.data.sets.aflw2000 import AFLW2000
from ssl_faces.data.sets.biwi import Biwi
from ssl_faces.data.sets.cfp import CFP, CFPFrontal
from ssl_faces.data.sets.ckplus import CKPlus
from ssl_faces.data.sets.class_folders import ClassFolders
from ssl_faces.data.sets.cplfw import CPLFW
from ssl_faces.data.sets.fer2013 import Fer2013, csv_of, expression_of
from ssl_faces.data.sets.ferplus import FERPlus
from ssl_faces.data.sets.folder import (
    PictureFolder,
    entry_of,
    existing_folder,
    is_picture_name,
    pictures_under,
    subfolders,
)
from ssl_faces.data.sets.lfw import LFW, folder_of_people
from ssl_faces.data.sets.oulucasia import OuluCasia
from ssl_faces.data.sets.rafdb import RafDb
from ssl_faces.data.sets.sfew import SFEW
from ssl_faces.data.sets.utkface import UTKFace, labels_of
from ssl_faces.data.sets.w300lp import W300LP
from ssl_faces.data.sets.youtube_keypoints import YouTubeKeypoints
from ssl_faces.data.tables import has_columns

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

    They are told by what a folder holds, not by its name: FER-2013, FERPlus, RAF-DB, AffectNet,
    SFEW, CK+, Oulu-CASIA, folders of expressions; LFW, CPLFW, CFP; UTKFace; YouTube keypoints,
    300W-LP, AFLW2000-3D, BIWI. FERPlus shares a folder with FER-2013, whose pictures it has.
    Sets that are all test are listed for the part `train` too, empty: what they hold out counts.
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
            # Anybody may have several folders of expressions.
            if kind in places and kind is not ClassFolders:
                raise InputError(
                    f"{folder} holds {kind.__name__} twice, in {places[kind]} and {place}; "
                    "move one of them away"
                )
            places[kind] = place
        for place in filter(ferplus.has_votes_only, places.values()):
            _log.warning(
                "%s is left out: its rows can't be told of the pictures beside it; add %s",
                *(place / ferplus.LABEL_FILE, ferplus.CSV_FILE),
            )
        for place in unknown:
            _log.warning("%s is no data set known here: its pictures are left out", place)
        sets = [_MAKERS[kind](place, part) for kind, place in found]
        names = [faces.name for faces in sets]
        for i, (faces, (_, place)) in enumerate(zip(sets, found, strict=True)):
            faces.place = place
            if faces.name in names[:i]:
                raise InputError(
                    f"{folder} holds two folders of expressions called {faces.title}; rename one"
                )
        return sets
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
        f"{folder} holds no pictures; give a folder with pictures, or with FER-2013, LFW, UTKFace, "
        "the YouTube keypoints or another set of the README unpacked"
    )


_KEPT_BACK = {
    "left_out_as_pictures_of_test_people": "of test people",
    "left_out_as_copies_of_test_pictures": "copies of test images",
    "left_out_for_the_online_probe": "for the online probe",
    "left_out_as_only_pictures_of_their_person": "without a second one of their person",
}


def recognised(
    sets: Sequence[FaceSet], counts: Sequence[Mapping[str, Any]], take_all: str
) -> list[str]:
    """What each folder was recognised as, how many of its images are trained on, and why the
    others are not; a line for each set that was found by its contents.

    Args:
        counts: of each set, as the card and a pack's index have them.
        take_all: how to train on test images too, in words.
    """
    lines = []
    by_name = {one["name"]: one for one in counts}
    for faces in sets:
        if faces.place is None:
            continue
        kind = "folders of expressions" if isinstance(faces, ClassFolders) else faces.title
        about = by_name.get(faces.name, {})
        line = (
            f"{faces.place}: recognised as {kind}; {about.get('pictures', 0):,} images to train on"
        )
        whys = [f"{about[key]:,} {why}" for key, why in _KEPT_BACK.items() if about.get(key)]
        test = faces.test_part() if faces.part == "train" else None
        if test is not None and len(test):
            split = f" ({faces.split})" if faces.split else ""
            whys.insert(0, f"{len(test):,} as its test part{split}")
        if whys:
            line += f"; kept back: {', '.join(whys)}; {take_all}"
        lines.append(line)
    return lines


# Each class here takes (root, part); FaceSet itself does not.
_MAKERS: dict[type[FaceSet], Callable[[Path, Part], FaceSet]] = {
    Fer2013: Fer2013,
    FERPlus: FERPlus,
    LFW: LFW,
    UTKFace: UTKFace,
    YouTubeKeypoints: YouTubeKeypoints,
    RafDb: RafDb,
    AffectNet: AffectNet,
    SFEW: SFEW,
    CKPlus: CKPlus,
    OuluCasia: OuluCasia,
    W300LP: W300LP,
    AFLW2000: AFLW2000,
    Biwi: Biwi,
    CPLFW: CPLFW,
    CFP: CFP,
    CFPFrontal: CFPFrontal,
    ClassFolders: ClassFolders,
}


def _search(
    folder: Path, depth: int, found: list[tuple[type[FaceSet], Path]], unknown: list[Path]
) -> None:
    kinds = _kinds_of(folder)
    if kinds:
        found += [(kind, folder) for kind in kinds]
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


def _kinds_of(folder: Path) -> list[type[FaceSet]]:
    first = next((kind for kind, holds in _LAYOUTS if holds(folder)), None)
    # Sets of the same images: other labels beside them, or other pairs of them.
    also: list[type[FaceSet]] = [FERPlus] if ferplus.is_layout(folder) else []
    also += [CFPFrontal] if first is CFP else []
    return [*([first] if first else []), *also]


def _is_fer2013(folder: Path) -> bool:
    if csv_of(folder) is not None:
        return True
    usages = [entry_of(folder, name) for name in ("Training", "PublicTest", "train", "test")]
    return any(
        sum(expression_of(child.name) is not None for child in subfolders(usage)) >= 2
        for usage in usages
        if usage is not None and usage.is_dir()
    )


def _is_youtube_keypoints(folder: Path) -> bool:
    labels = entry_of(folder, "labels.csv")
    if labels is None or not labels.is_file() or entry_of(folder, "images") is None:
        return False
    return has_columns(labels, "yaw", "x0")


def _is_utkface(folder: Path) -> bool:
    """Whether most of the first pictures directly in `folder` are named as UTKFace names them."""
    with os.scandir(folder) as entries:
        names = list(islice((e.name for e in entries if is_picture_name(e.name)), 20))
    labelled = sum(not isinstance(labels_of(name), str) for name in names)
    return 2 * labelled > len(names)


def _is_lfw(folder: Path) -> bool:
    return folder_of_people(folder) == folder


# In this order: folders of people or of expressions are told by the least.
_LAYOUTS: tuple[tuple[type[FaceSet], Callable[[Path], bool]], ...] = (
    (SFEW, sfew.is_layout),  # before FER-2013, which has a folder `train` too
    (Fer2013, _is_fer2013),
    (YouTubeKeypoints, _is_youtube_keypoints),
    (RafDb, rafdb.is_layout),
    (AffectNet, affectnet.is_layout),
    (CKPlus, ckplus.is_layout),
    (OuluCasia, oulucasia.is_layout),
    (CPLFW, cplfw.is_layout),
    (CFP, cfp.is_layout),
    (W300LP, w300lp.is_layout),
    (AFLW2000, aflw2000.is_layout),
    (Biwi, biwi.is_layout),
    (UTKFace, _is_utkface),
    (LFW, _is_lfw),
    (ClassFolders, class_folders.is_layout),
)
