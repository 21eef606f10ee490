"""FER-2013: 48x48 grey faces with seven expressions, as class folders or the official CSV.

Source: Goodfellow et al., "Challenges in Representation Learning", ICML 2013 workshop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import EXPRESSIONS, EmptyPart, FaceRecord, Part
from ssl_faces.data.sets.expressions import count_expressions, records_of_classes
from ssl_faces.data.sets.folder import entry_of
from ssl_faces.data.sets.recognised import Entry, RecognisedSet, sides_of
from ssl_faces.data.tables import MEND, has_columns, read_table, whole_number_in

CSV_EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""What the numbers of the CSV's `emotion` column mean. Not the order of EXPRESSIONS."""

CSV_FILES = ("fer2013.csv", "icml_face_data.csv")
"""The file with all images, as its owners call it and as Kaggle does."""

_MOST_TABLES = 20  # looked into, of a folder's

SIDE = 48
"""Width and height of every FER-2013 image."""

# Folder names, and values of the CSV's `Usage`, of either part. `PrivateTest` is in none.
_USAGES = {"train": ("Training", "train"), "test": ("PublicTest", "test")}


class Fer2013(RecognisedSet):
    """FER-2013 with `expression` labels; no person is known.

    `root` is `fer2013.csv` (columns `emotion`, `pixels`, `Usage`, in any order; Kaggle calls it
    `icml_face_data.csv`), a folder with that file, or a folder with class folders by usage:
    `Training/<class>/*.jpg` and `PublicTest/<class>/*.jpg`. Kaggle's folders (`train/<class>`,
    `test/<class>`) are read too. Their `test` is the owner's PublicTest and PrivateTest together,
    so its figures are not PublicTest figures.

    `train` is Training, `test` is PublicTest, `all` is both. PrivateTest is in no part: it stays
    unseen, in pretraining and in every choice.
    """

    name = "fer2013"
    title = "FER-2013"
    labels = ("expression",)
    near_copies = True
    rank = 2

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        super().__init__(root, part)
        # By the names that this copy has: Kaggle's `test` is not the owner's PublicTest.
        usages = sorted({record.key.partition("/")[0] for record in self.records})
        train, test = (
            "+".join(u for u in usages if u.lower() in {name.lower() for name in names})
            for names in _USAGES.values()
        )
        self.split = " -> ".join(filter(None, (train, test)))

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        names = [name for names in _USAGES.values() for name in names]
        return csv_of(folder) is not None or any(
            count_expressions(entry_of(folder, name)) >= 2 for name in names
        )

    def open_root(self, root: str | Path) -> Path:
        path = Path(root).expanduser()
        return path if path.is_file() else super().open_root(path)

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        sides = sides_of(part)
        table = folder if folder.is_file() else csv_of(folder)
        if table is not None:
            yield from _records_of_csv(table, {u.lower() for side in sides for u in _USAGES[side]})
            return
        places = [entry_of(folder, *_USAGES[side]) for side in sides]
        if not any(places):
            names = " or ".join(f"'{_USAGES[side][0]}'" for side in sides)
            raise EmptyPart(
                f"{self.name}: {folder} has no folder {names} and no {CSV_FILES[0]}, so no part "
                f"'{part}'; give the folder that holds them"
            )
        for place in filter(None, places):
            yield from records_of_classes(place, folder, self.name)


class CsvRow(NamedTuple):
    """A row of `fer2013.csv`; of its values only `usage` is checked."""

    line: int
    usage: str
    emotion: str
    pixels: str


def csv_of(folder: Path) -> Path | None:
    """The file with the images in `folder`: its owners' name for it, else Kaggle's, else any with
    columns of emotions and pixels."""
    named = entry_of(folder, *CSV_FILES)
    if named is not None:
        return named
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".csv"))
    tables = (folder / name for name in names[:_MOST_TABLES])
    return next((table for table in tables if has_columns(table, "emotion", "pixels")), None)


def rows_of_csv(path: Path) -> Iterator[CsvRow]:
    """The rows of `fer2013.csv`, in their order. Raises InputError: the file can't be read, lacks a
    column, or a row has another number of columns than the header or an unknown `Usage`; names file
    and line."""
    known = {usage.lower() for usages in _USAGES.values() for usage in usages} | {"privatetest"}
    for where, row in read_table(path, ("emotion", "pixels", "Usage")):
        usage = row["Usage"]
        if usage.lower() not in known:
            raise InputError(
                f"{where}: unknown Usage '{shorten(usage, 40)}'; "
                "it must be Training, PublicTest or PrivateTest"
            )
        yield CsvRow(int(where.rpartition(" ")[2]), usage, row["emotion"], row["pixels"])


def _records_of_csv(path: Path, usages: set[str]) -> Iterator[FaceRecord]:
    for row in rows_of_csv(path):
        if row.usage.lower() not in usages:
            continue
        where = f"{path}, line {row.line}"
        emotion = whole_number_in(row.emotion, "emotion", where, 0, len(CSV_EMOTIONS) - 1)
        labels = {"expression": EXPRESSIONS.index(CSV_EMOTIONS[emotion])}
        yield FaceRecord(f"{row.usage}/{row.line:05d}", pixels_of(row, path), labels=labels)


def pixels_of(row: CsvRow, path: Path) -> np.ndarray:
    """The image of a row of `path`, uint8 [48, 48]; raises InputError where it is none."""
    try:
        values = np.fromstring(row.pixels, dtype=np.int64, sep=" ")
    except ValueError:
        values = np.empty(0, dtype=np.int64)
    if values.size != SIDE * SIDE or values.min() < 0 or values.max() > 255:
        raise InputError(
            f"{path}, line {row.line}: pixels must be {SIDE * SIDE} numbers from 0 to 255 with "
            f"spaces between; {MEND}"
        )
    return values.astype(np.uint8).reshape(SIDE, SIDE)
