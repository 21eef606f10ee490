"""Oulu-CASIA: sequences of six posed expressions, from neutral to apex, filmed in a laboratory.

Source: Taini et al., "Facial Expression Recognition from Near-Infrared Video Sequences", ICPR 2008;
Zhao et al., "Facial Expression Recognition from Near-Infrared Videos", Image and Vision Computing,
2011.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, FaceSet, Part
from ssl_faces.data.sets.fer2013 import expression_of
from ssl_faces.data.sets.folder import entry_of, existing_folder, is_picture_name, subfolders
from ssl_faces.data.sets.sequences import folds_by_person, neutral_and_apex

FOLDS = 10

# The owner's archives, faces cut out and whole frames, and the light in them.
_CROPPED = ("PreProcess Img", "PreProcess_Img", "PreProcessImg", "PreProcess")
_WHOLE = ("OriginalImg", "B_OriginalImg")
_LIGHT = ("VL_Acropped", "VL")
_PERSON = re.compile(r"P\d{3}")


class _Place(NamedTuple):
    people: Path  # holds P001, P002, …
    cropped: bool


class OuluCasia(FaceSet):
    """Oulu-CASIA in visible light, strong illumination, with `person` and `expression` labels,
    scored by cross-validation over people.

    `root` holds `PreProcess Img/VL_Acropped/Strong/P001/Anger/000.jpeg` (faces that the owner cut
    out) or `OriginalImg/VL/Strong/P001/Anger/000.jpeg` (whole frames; also within `B_OriginalImg`);
    of both the former are taken. Of each sequence the last `APEX_FRAMES` frames are taken for its
    expression, as is usual, and the first one for neutral.

    The `folds` are ten: people in order of their number, every tenth together. Everyone is tested
    in one of them, so that `test` is all pictures and `train`, what pretraining may see, is empty.

    Raises:
        InputError: the folders are missing, or one of a sequence is not named as an expression is.
    """

    title = "Oulu-CASIA"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "oulucasia")
        place = _place_in(folder)
        if place is None:
            raise InputError(
                f"oulucasia: {folder} has no OriginalImg/VL/Strong/ and no PreProcess Img/"
                "VL_Acropped/Strong/; give the folder that holds OriginalImg or PreProcess Img"
            )
        labelled: list[FaceRecord] = []
        for person_folder in filter(_is_person, subfolders(place.people)):
            for sequence in subfolders(person_folder):
                expression = expression_of(sequence.name)
                if expression is None:
                    raise InputError(
                        f"oulucasia: unknown expression folder {sequence}; rename it to one of "
                        f"{', '.join(EXPRESSIONS)}, or move it away"
                    )
                frames = sorted(p for p in sequence.iterdir() if is_picture_name(p.name))
                for frame, shown in neutral_and_apex(frames, expression) if frames else ():
                    key = f"{person_folder.name}/{sequence.name}/{frame.name}"
                    person = f"oulucasia_{person_folder.name}"
                    labelled.append(FaceRecord(key, frame, person, {"expression": shown}))
        records = [] if part == "train" else labelled
        super().__init__(
            "oulucasia",
            part,
            records,
            held_out_people=frozenset(record.person or "" for record in labelled),
            test=partial(OuluCasia, root, "test"),
            folds=folds_by_person(records, labelled, FOLDS),
            empty=part == "train",
        )
        self.split = f"{FOLDS} folds by person{'' if place.cropped else ', whole frames'}"


def is_layout(folder: Path) -> bool:
    return _place_in(folder) is not None


def _place_in(folder: Path) -> _Place | None:
    for names in (_CROPPED, _WHOLE):
        for home in _homes(folder, names):
            light = entry_of(home, *_LIGHT)
            people = entry_of(light, "Strong") if light is not None and light.is_dir() else None
            if people is not None and people.is_dir() and any(map(_is_person, subfolders(people))):
                cropped = people.parent.name.lower() == _LIGHT[0].lower() or home.name in _CROPPED
                return _Place(people, cropped)
    return None


def _homes(folder: Path, names: tuple[str, ...]) -> Iterator[Path]:
    """`folder` and the folders of these names in it, of which the owner's archives hold another of
    the kind."""
    home: Path | None = folder
    for _ in range(4):
        if home is None or not home.is_dir():
            return
        yield home
        home = entry_of(home, *names)


def _is_person(folder: Path) -> bool:
    return _PERSON.fullmatch(folder.name) is not None
