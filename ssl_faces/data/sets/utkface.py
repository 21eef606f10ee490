"""UTKFace: aligned face crops with age, gender and race in the file's name.

Source: Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder",
CVPR 2017.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, Part, Skipped
from ssl_faces.data.sets.folder import images_under, is_image_name
from ssl_faces.data.sets.recognised import Entry, RecognisedSet, split_by_content

GENDERS = ("male", "female")
"""What the label `gender` means."""

RACES = ("White", "Black", "Asian", "Indian", "Others")
"""What the label `race` means, in the owner's words."""

OLDEST = 130


class UTKFace(RecognisedSet):
    """UTKFace with `age` (years), `gender` and `race` labels; no person is known.

    `root` holds `<age>_<gender>_<race>_<date>.jpg.chip.jpg`, in subfolders too. Files whose name
    lacks a field or has one out of range are in `skipped`.

    The owner fixed no split. Here an image is in `test` by the SHA-256 of its bytes
    (`in_test_share`), not of its name: the set holds some hundred images twice or thrice under
    different names (ages, even), and this keeps byte-identical copies on one side. It costs
    reading every file once, so the part `all` does without.
    """

    name = "utkface"
    title = "UTKFace"
    class_names = MappingProxyType({"gender": GENDERS, "race": RACES})
    labels = ("age", "gender", "race")
    split = "by the pictures' bytes, a fifth for the test"
    near_copies = True
    rank = 7

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether most of the first images directly in `folder` are named as UTKFace names them."""
        with os.scandir(folder) as entries:
            names = list(islice((e.name for e in entries if is_image_name(e.name)), 20))
        labelled = sum(not isinstance(labels_of(name), str) for name in names)
        return 2 * labelled > len(names)

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        keys = images_under(folder)
        labels = {key: labels_of(key.rpartition("/")[2]) for key in keys}
        if all(isinstance(label, str) for label in labels.values()):
            raise InputError(
                f"utkface: {folder} holds no picture named <age>_<gender>_<race>_<date>.jpg; "
                "give the folder that holds them"
            )
        for key, label in labels.items():
            if isinstance(label, str):
                yield Skipped(key, label)
            else:
                yield from split_by_content([FaceRecord(key, folder / key, labels=label)], part)


def labels_of(file_name: str) -> dict[str, float | int] | str:
    """`age`, `gender` and `race` out of a file's name, or the reason why they can't be had."""
    fields = file_name.partition(".")[0].split("_")
    if len(fields) < 4:
        return "a field is missing in its name: not <age>_<gender>_<race>_<date>"
    numbers = []
    for what, text, top in zip(
        ("age", "gender", "race"), fields, (OLDEST, len(GENDERS) - 1, len(RACES) - 1), strict=False
    ):
        if not (text.isascii() and text.isdigit() and int(text) <= top):
            return f"{what} '{text}' in its name is not a number from 0 to {top}"
        numbers.append(int(text))
    age, gender, race = numbers
    return {"age": float(age), "gender": gender, "race": race}
