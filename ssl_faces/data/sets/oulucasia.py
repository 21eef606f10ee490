"""Oulu-CASIA: sequences of six posed expressions, from neutral to apex, filmed in a laboratory.

Source: Taini et al., "Facial Expression Recognition from Near-Infrared Video Sequences", ICPR 2008;
Zhao et al., "Facial Expression Recognition from Near-Infrared Videos", Image and Vision Computing,
2011.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import Part
from ssl_faces.data.sets.expressions import expression_folder, frames_in, sequence_records
from ssl_faces.data.sets.folder import entry_of, subfolders
from ssl_faces.data.sets.recognised import Entry, RecognisedSet

# The owner's archives, faces cut out and whole frames, and the light in them.
_CROPPED = ("PreProcess Img", "PreProcess_Img", "PreProcessImg", "PreProcess")
_WHOLE = ("OriginalImg", "B_OriginalImg")
_LIGHT = ("VL_Acropped", "VL")
_PERSON = re.compile(r"P\d{3}")


class OuluCasia(RecognisedSet):
    """Oulu-CASIA in visible light, strong illumination, with `person` and `expression` labels,
    scored by cross-validation over people.

    `root` holds `PreProcess Img/VL_Acropped/Strong/P001/Anger/000.jpeg` (faces that the owner cut
    out) or `OriginalImg/VL/Strong/P001/Anger/000.jpeg` (whole frames; also within `B_OriginalImg`);
    of both the former are taken. Of each sequence the last `APEX_FRAMES` frames are taken for its
    expression, as is usual, and the first one for neutral.

    The `folds` are ten: people in order of their number, every tenth together. Everyone is tested
    in one of them, so that `test` is all images and `train`, what pretraining may see, is empty.
    """

    name = "oulucasia"
    title = "Oulu-CASIA"
    labels = ("person", "expression")
    fold_count = 10
    may_be_empty = ("train",)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return _people_in(folder) is not None

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        people = _people_in(folder)
        if people is None:
            raise InputError(
                f"oulucasia: {folder} has no OriginalImg/VL/Strong/ and no "
                "PreProcess Img/VL_Acropped/Strong/; give the folder that holds one of them"
            )
        light = people.parent
        cropped = light.name.lower() == _LIGHT[0].lower() or light.parent.name in _CROPPED
        self.split = f"{self.fold_count} folds by person{'' if cropped else ', whole frames'}"
        for place in subfolders(people):
            if not _PERSON.fullmatch(place.name):
                continue
            person = f"{self.name}_{place.name}"
            for sequence in subfolders(place):
                expression = expression_folder(sequence, self.name, "expression")
                frames = frames_in(sequence)
                if frames:
                    self._held_out.add(person)
                if part != "train":
                    key = f"{place.name}/{sequence.name}"
                    yield from sequence_records(frames, key, person, expression)


def _people_in(folder: Path) -> Path | None:
    """The folder that holds P001, P002, …; of cropped faces where there are any."""
    for names in (_CROPPED, _WHOLE):
        # The owner's archives hold another folder of the kind.
        home: Path | None = folder
        for _ in range(4):
            if home is None:
                break
            light = entry_of(home, *_LIGHT)
            people = None if light is None else entry_of(light, "Strong")
            children = subfolders(people) if people is not None and people.is_dir() else []
            if any(_PERSON.fullmatch(place.name) for place in children):
                return people
            home = entry_of(home, *names)
    return None
