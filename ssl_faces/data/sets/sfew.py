"""SFEW 2.0: frames of films with one of seven expressions.

Source: Dhall et al., "Video and Image based Emotion Recognition Challenges in the Wild: EmotiW
2015", ICMI 2015.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet, Part
from ssl_faces.data.sets.fer2013 import expression_of, records_of_classes
from ssl_faces.data.sets.folder import entry_of, existing_folder, pictures_under, subfolders

# Of either part, the folders that the owner's archives unpack to: faces cut out, then whole frames.
_SIDES = {
    "train": (("Train_Aligned_Faces",), "Train"),
    "test": (("Val_Aligned_Faces", "Val_Aligned_Faces_new"), "Val"),
}
_WHOLE = {whole.lower() for _, whole in _SIDES.values()}
_FRAME = re.compile(r".+_\d{6,}_\d{6,}")  # film, time, frame: Airheads_000519240_00000005.png


class SFEW(FaceSet):
    """SFEW 2.0 with `expression` labels; no person is known.

    `root` holds `Train_Aligned_Faces/Angry/*.png` … and `Val_Aligned_Faces/Angry/*.png` … (faces
    that the owner cut out; also in `Train/` and `Val/`), or whole frames: `Train/Angry/*.png` … and
    `Val/Angry/*.png` …. `test` is the validation part: the labels of the owner's test part were
    never published.

    Raises:
        InputError: folder missing, or a class folder that is not named as an expression is.
    """

    title = "SFEW 2.0"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "sfew")
        records: list[FaceRecord] = []
        sides = ("train", "test") if part == "all" else (part,)
        places = [_place_of(folder, side) for side in sides]
        if not any(places):
            raise InputError(
                f"sfew: {folder} has no {' or '.join(_SIDES[sides[0]][0])} and no "
                f"{_SIDES[sides[0]][1]} with class folders, so no part '{part}'; give the folder "
                "that holds them"
            )
        for place in filter(None, places):
            records += records_of_classes(place, folder, "sfew")
        super().__init__("sfew", part, records, test=partial(SFEW, root, "test"))
        whole = any(place.name.lower() in _WHOLE for place in places if place is not None)
        self.split = f"Train -> Val{', whole frames' if whole else ''}"


def is_layout(folder: Path) -> bool:
    """Whether it holds the owner's folders: told by their names, or where those are `Train` and
    `Val`, which other sets have too, by the names of the pictures."""
    for side in _SIDES:
        place = _place_of(folder, side)
        if place is None:
            continue
        if place.name.lower() not in _WHOLE:
            return True
        names = [Path(name).stem for name in islice(_names_in(place), 20)]
        if 2 * sum(_FRAME.fullmatch(name) is not None for name in names) > len(names):
            return True
    return False


def _place_of(folder: Path, side: str) -> Path | None:
    """The folder of class folders of a part; None where there is none."""
    aligned, whole = _SIDES[side]
    outer = entry_of(folder, whole)
    outer = outer if outer is not None and outer.is_dir() else None
    found = (
        entry_of(folder, *aligned),
        None if outer is None else entry_of(outer, *aligned),
        outer,
    )
    return next((place for place in found if place is not None and _has_classes(place)), None)


def _has_classes(place: Path) -> bool:
    return place.is_dir() and any(expression_of(c.name) is not None for c in subfolders(place))


def _names_in(place: Path) -> Iterator[str]:
    for child in subfolders(place):
        yield from pictures_under(child)
