"""FER-2013: 48x48 grey faces with seven expressions, as class folders or the official CSV.

Source: Goodfellow et al., "Challenges in Representation Learning", ICML 2013 workshop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, FaceSet, Part
from ssl_faces.data.sets.folder import entry_of, existing_folder, pictures_under, subfolders
from ssl_faces.data.tables import has_columns, read_table

CSV_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""What the numbers of the CSV's `emotion` column mean. Not the order of EXPRESSIONS."""

CSV_FILES = ("fer2013.csv", "icml_face_data.csv")
"""The file with all pictures, as its owners call it and as Kaggle does."""

_MOST_TABLES = 20  # looked into, of a folder's

SIDE = 48
"""Width and height of every FER-2013 picture."""

_SPELLINGS = {
    "anger": "angry",
    "disgusted": "disgust",
    "fearful": "fear",
    "happiness": "happy",
    "sadness": "sad",
    "surprised": "surprise",
} | {name: name for name in EXPRESSIONS}

# Folder names, and values of the CSV's `Usage`, of either part. `PrivateTest` is in none.
_USAGES: dict[str, tuple[str, ...]] = {
    "train": ("Training", "train"),
    "test": ("PublicTest", "test"),
}


def expression_of(name: str) -> int | None:
    """Index into EXPRESSIONS of a class folder's name (`Angry`, `anger`, …); None if unknown."""
    spelling = _SPELLINGS.get(name.lower())
    return None if spelling is None else EXPRESSIONS.index(spelling)


class Fer2013(FaceSet):
    """FER-2013 with `expression` labels; no person is known.

    `root` is `fer2013.csv` (columns `emotion`, `pixels`, `Usage`, in any order; Kaggle calls it
    `icml_face_data.csv`), a folder with that file, or a folder with class folders by usage:
    `Training/<class>/*.jpg` and `PublicTest/<class>/*.jpg`. Kaggle's folders (`train/<class>`,
    `test/<class>`) are read too. Their `test` is the owner's PublicTest and PrivateTest together,
    so its figures are not PublicTest figures.

    `train` is Training, `test` is PublicTest, `all` is both. PrivateTest is in no part: it stays
    unseen, in pretraining and in every choice.

    Raises:
        InputError: folder missing, unknown class folder, or a CSV row that can't be read.
    """

    title = "FER-2013"

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        path = Path(root).expanduser()
        sides = ("train", "test") if part == "all" else (part,)
        if path.is_file():
            records = _records_of_csv(path, sides)
        else:
            folder = existing_folder(path, "fer2013")
            csv_file = csv_of(folder)
            if csv_file is not None:
                records = _records_of_csv(csv_file, sides)
            else:
                records = _records_of_folders(folder, sides, part)
        super().__init__("fer2013", part, records, test=partial(Fer2013, root, "test"))
        # By the names that this copy has: Kaggle's `test` is not the owner's PublicTest.
        usages = sorted({record.key.partition("/")[0] for record in records})
        train, test = (
            "+".join(u for u in usages if u.lower() in {name.lower() for name in _USAGES[side]})
            for side in ("train", "test")
        )
        self.split = f"{train} -> {test}"


def _records_of_folders(root: Path, sides: tuple[str, ...], part: Part) -> list[FaceRecord]:
    usage_folders = [entry_of(root, *_USAGES[side]) for side in sides]
    if all(folder is None for folder in usage_folders):
        wanted = " or ".join(f"'{_USAGES[side][0]}'" for side in sides)
        raise InputError(
            f"fer2013: {root} has no folder {wanted} and no fer2013.csv, so no part '{part}'; "
            "give the folder that holds them"
        )
    records = []
    for usage_folder in usage_folders:
        if usage_folder is None:
            continue
        records += records_of_classes(usage_folder, root, "fer2013")
    return records


def records_of_classes(side: Path, root: Path, what: str) -> list[FaceRecord]:
    """The pictures of the class folders in `side`, with the label `expression`.

    Args:
        root: what keys are relative to.
        what: the name of the data set, for the message.

    Raises:
        InputError: a folder is not named as an expression is.
    """
    records = []
    for class_folder in subfolders(side):
        expression = expression_of(class_folder.name)
        if expression is None:
            raise InputError(
                f"{what}: unknown class folder {class_folder}; "
                f"rename it to one of {', '.join(EXPRESSIONS)}, or move it away"
            )
        for name in pictures_under(class_folder):
            path = class_folder / name
            key = path.relative_to(root).as_posix()
            records.append(FaceRecord(key, path, labels={"expression": expression}))
    return records


class CsvRow(NamedTuple):
    """A row of `fer2013.csv`, its values not looked into yet but for `usage`."""

    line: int
    usage: str
    emotion: str
    pixels: str


def csv_of(folder: Path) -> Path | None:
    """The file with the pictures in `folder`: its owners' name for it, else Kaggle's, else any
    with columns of emotions and pixels."""
    named = entry_of(folder, *CSV_FILES)
    if named is not None:
        return named
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".csv"))
    tables = (folder / name for name in names[:_MOST_TABLES])
    return next((table for table in tables if has_columns(table, "emotion", "pixels")), None)


def rows_of_csv(path: Path) -> Iterator[CsvRow]:
    """The rows of `fer2013.csv`, in their order.

    Raises:
        InputError: the file can't be read, lacks a column, or a row has another number of columns
            than the header or an unknown `Usage`; names file and line.
    """
    known = {usage.lower() for usages in _USAGES.values() for usage in usages} | {"privatetest"}
    for where, row in read_table(path, ("emotion", "pixels", "Usage")):
        usage = row["Usage"]
        if usage.lower() not in known:
            raise InputError(
                f"{where}: unknown Usage '{shorten(usage, 40)}'; "
                "it must be Training, PublicTest or PrivateTest"
            )
        yield CsvRow(int(where.rpartition(" ")[2]), usage, row["emotion"], row["pixels"])


def _records_of_csv(path: Path, sides: tuple[str, ...]) -> list[FaceRecord]:
    wanted = {usage.lower() for side in sides for usage in _USAGES[side]}
    order = [EXPRESSIONS.index(name) for name in CSV_EMOTIONS]
    records = []
    for row in rows_of_csv(path):
        if row.usage.lower() not in wanted:
            continue
        emotion = row.emotion
        if not (emotion.isascii() and emotion.isdigit() and int(emotion) < len(order)):
            raise InputError(
                f"{path}, line {row.line}: emotion '{shorten(emotion, 40)}' is not a number from 0 "
                f"to {len(order) - 1}; mend or delete the line"
            )
        labels = {"expression": order[int(emotion)]}
        pixels = pixels_of(row, path)
        records.append(FaceRecord(f"{row.usage}/{row.line:05d}", pixels, labels=labels))
    return records


def pixels_of(row: CsvRow, path: Path) -> np.ndarray:
    """The picture of a row of `path`, uint8 [48, 48]; raises InputError where it is none."""
    try:
        values = np.fromstring(row.pixels, dtype=np.int64, sep=" ")
    except ValueError:
        values = np.empty(0, dtype=np.int64)
    if values.size != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        raise InputError(
            f"{path}, line {row.line}: pixels must be {SIDE * SIDE} numbers from 0 to 255 with "
            "spaces between; mend or delete the line"
        )
    return values.astype(np.uint8).reshape(SIDE, SIDE)
