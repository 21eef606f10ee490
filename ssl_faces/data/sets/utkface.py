"""UTKFace: aligned face crops with age, gender and race in the file's name.

Source: Zhang, Song and Qi, "Age Progression/Regression by Conditional Adversarial Autoencoder",
CVPR 2017.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import MappingProxyType

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet, Part, Skipped, in_test_share
from ssl_faces.data.pictures import BadPicture, content_hash
from ssl_faces.data.sets.folder import existing_folder, pictures_under

GENDERS = ("male", "female")
"""What the label `gender` means."""

RACES = ("White", "Black", "Asian", "Indian", "Others")
"""What the label `race` means, in the owner's words."""

OLDEST = 130


class UTKFace(FaceSet):
    """UTKFace with `age` (years), `gender` and `race` labels; no person is known.

    `root` holds `<age>_<gender>_<race>_<date>.jpg.chip.jpg`, in subfolders too. Files whose name
    lacks a field or has one out of range are in `skipped`.

    The owner fixed no split. Here a picture is in `test` by the SHA-256 of its bytes
    (`in_test_share`), not of its name: the set holds some hundred pictures twice or thrice under
    different names (ages, even), and this keeps byte-identical copies on one side. It costs
    reading every file once, so the part `all` does without.

    Raises:
        InputError: folder missing, or without a single picture so named.
    """

    title = "UTKFace"
    class_names = MappingProxyType({"gender": GENDERS, "race": RACES})
    split = "by the pictures' bytes, a fifth for the test"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "utkface")
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        labelled = 0
        for key in pictures_under(folder):
            labels = labels_of(key.rpartition("/")[2])
            if isinstance(labels, str):
                skipped.append(Skipped(key, labels))
                continue
            labelled += 1
            path = folder / key
            if part != "all":
                try:
                    digest = content_hash(path).hex()
                except BadPicture as error:
                    skipped.append(Skipped(key, str(error)))
                    continue
                if in_test_share(digest) != (part == "test"):
                    continue
            records.append(FaceRecord(key, path, labels=dict(labels)))
        if not labelled:
            raise InputError(
                f"utkface: {folder} holds no picture named <age>_<gender>_<race>_<date>.jpg; "
                "give the folder that holds them"
            )
        super().__init__(
            "utkface", part, records, skipped=skipped, test=partial(UTKFace, root, "test")
        )


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
