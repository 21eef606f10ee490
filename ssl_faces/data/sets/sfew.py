"""SFEW 2.0: frames of films with one of seven expressions.

Source: Dhall et al., "Video and Image based Emotion Recognition Challenges in the Wild: EmotiW
2015", ICMI 2015.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import Part
from ssl_faces.data.sets.expressions import count_expressions, records_of_classes
from ssl_faces.data.sets.folder import entry_of, images_under, subfolders
from ssl_faces.data.sets.recognised import Entry, RecognisedSet, sides_of

# Of either part, the folders that the owner's archives unpack to: faces cut out, then whole frames.
_SIDES = {
    "train": (("Train_Aligned_Faces",), "Train"),
    "test": (("Val_Aligned_Faces", "Val_Aligned_Faces_new"), "Val"),
}
_WHOLE = {whole.lower() for _, whole in _SIDES.values()}
_FRAME = re.compile(r".+_\d{6,}_\d{6,}")  # film, time, frame: Airheads_000519240_00000005.png


class SFEW(RecognisedSet):
    """SFEW 2.0 with `expression` labels; no person is known.

    `root` holds `Train_Aligned_Faces/Angry/*.png` … and `Val_Aligned_Faces/Angry/*.png` … (faces
    that the owner cut out; also in `Train/` and `Val/`), or whole frames: `Train/Angry/*.png` … and
    `Val/Angry/*.png` …. `test` is the validation part: the labels of the owner's test part were
    never published.
    """

    name = "sfew"
    title = "SFEW 2.0"
    labels = ("expression",)
    rank = 1  # before FER-2013, which has a folder `train` too

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        for place in filter(None, (_place_of(folder, side) for side in _SIDES)):
            if place.name.lower() not in _WHOLE:
                return True
            # Other sets have `Train` and `Val` too: the images' names decide.
            names = (Path(name).stem for c in subfolders(place) for name in images_under(c))
            first = list(islice(names, 20))
            if 2 * sum(_FRAME.fullmatch(name) is not None for name in first) > len(first):
                return True
        return False

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        sides = sides_of(part)
        places = [place for place in (_place_of(folder, side) for side in sides) if place]
        if not places:
            aligned, whole = _SIDES[sides[0]]
            raise InputError(
                f"sfew: {folder} has no {' or '.join(aligned)} and no {whole} with class folders, "
                f"so no part '{part}'; give the folder that holds them"
            )
        uncut = any(place.name.lower() in _WHOLE for place in places)
        self.split = f"Train -> Val{', whole frames' if uncut else ''}"
        for place in places:
            yield from records_of_classes(place, folder, self.name)


def _place_of(folder: Path, side: str) -> Path | None:
    """The folder of class folders of a part; None where there is none."""
    aligned, whole = _SIDES[side]
    for name in (*aligned, *(f"{whole}/{name}" for name in aligned), whole):
        place = entry_of(folder, name)
        if count_expressions(place):
            return place
    return None
