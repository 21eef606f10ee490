"""FERPlus: the images of FER-2013, labelled again by ten people each; contempt is an eighth class.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", ICMI 2016, and its authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, Part, Skipped
from ssl_faces.data.sets.fer2013 import CSV_FILES, csv_of, pixels_of, rows_of_csv
from ssl_faces.data.sets.folder import entry_of, images_under
from ssl_faces.data.sets.recognised import Entry, RecognisedSet
from ssl_faces.data.tables import read_table, whole_number_in

LABEL_FILE = "fer2013new.csv"
CSV_FILE = CSV_FILES[0]

CLASSES = (*EXPRESSIONS, "contempt")

VOTES = {
    "neutral": "neutral",
    "happiness": "happy",
    "surprise": "surprise",
    "sadness": "sad",
    "anger": "angry",
    "disgust": "disgust",
    "fear": "fear",
    "contempt": "contempt",
}
"""What the owner's columns of votes mean."""

NO_CLASS = {"unknown": "unknown", "NF": "no face"}
"""Columns of votes for no class, and the reason to leave the image out."""

NO_MAJORITY = "without a majority"

RATERS = 10

_NAME = "Image name"  # empty where the owner took the image out, as it shows no face
# Folders that the owner's script writes the images to, by part.
_FOLDERS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
_USAGES: dict[Part, tuple[str, ...]] = {
    "train": ("Training",),
    "test": ("PrivateTest",),
    "all": ("Training", "PrivateTest"),
}


class _Votes(NamedTuple):
    where: str
    usage: str
    name: str
    votes: dict[str, int]


class FERPlus(RecognisedSet):
    """FERPlus with `expression` labels of eight classes, `CLASSES`; no person is known.

    `root` holds the owner's `fer2013new.csv` and, beside it, either `fer2013.csv` (the same images
    row by row) or the folders `FER2013Train`, `FER2013Valid` and `FER2013Test` that the owner's
    script writes (`fer0000000.png`, also in a folder `data` or `images`). FER-2013 as class folders
    does not do: the names of its images don't give their rows.

    The label is the majority's, as in the owner's code: single votes are dropped, and a class must
    have more than half of the votes that are left, those for unknown and for no face (NF) among
    them. Images without such a class are left out (so are ties) and listed in `skipped`.

    `test` is PrivateTest, which the paper and those after it score on; PublicTest, on which they
    choose, is in no part, as it is the test part of FER-2013. `train` is Training, but empty beside
    `fer2013.csv`, so that pretraining on the folder, which takes the same images from FER-2013,
    doesn't see them twice; `all` has them.
    """

    name = "ferplus"
    title = "FERPlus"
    split = "Training -> PrivateTest"
    class_names = MappingProxyType({"expression": CLASSES})
    labels = ("expression",)
    same_images_as = "fer2013"
    near_copies = True
    may_be_empty = ("train",)

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        home = _images_in(folder)
        return entry_of(folder, LABEL_FILE) is not None and (
            csv_of(folder) is not None or (home is not None and any(_present(home).values()))
        )

    @classmethod
    def incomplete(cls, folder: Path) -> str:
        if entry_of(folder, LABEL_FILE) is None or cls.recognises(folder):
            return ""
        return (
            f"{folder / LABEL_FILE} is left out: its rows can't be matched to the images beside "
            f"it; add {CSV_FILE}"
        )

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        table = self.need(folder, LABEL_FILE, beside=CSV_FILE)
        pixels, home = csv_of(folder), _images_in(folder)
        if pixels is None and home is None:
            raise InputError(
                f"ferplus: {folder} has no {CSV_FILE} and no {_FOLDERS['Training']}/ beside "
                f"{LABEL_FILE}, whose rows can't be matched to images with other names; add "
                f"{CSV_FILE}"
            )
        if pixels is not None and part == "train":
            return
        rows = (
            _of_folders(table, home or folder, _USAGES[part])
            if pixels is None
            else _of_csv(table, pixels, _USAGES[part])
        )
        for row, image in rows:
            key = f"{row.usage}/{row.name or row.where.rpartition(', ')[2]}"
            name = majority(row.votes) if row.name else NO_CLASS["NF"]
            if name not in CLASSES:
                yield Skipped(key, f"{name}: none of the classes")
            elif image is None:
                yield Skipped(key, f"named in {table.name}, missing on disk")
            else:
                yield FaceRecord(key, image, labels={"expression": CLASSES.index(name)})


def majority(votes: Mapping[str, int]) -> str:
    """One of `CLASSES`, of the values of `NO_CLASS`, or `NO_MAJORITY`, by all columns of votes."""
    kept = {column: count if count > 1 else 0 for column, count in votes.items()}
    first = max(kept, key=lambda column: kept[column])
    if 2 * kept[first] <= sum(kept.values()):
        return NO_MAJORITY
    return (VOTES | NO_CLASS)[first]


def _images_in(folder: Path) -> Path | None:
    """What holds the folders of images, `folder` or a folder in it."""
    homes = (folder, entry_of(folder, "data"), entry_of(folder, "images"))
    return next((h for h in homes if h is not None and entry_of(h, *_FOLDERS.values())), None)


def _present(home: Path) -> dict[str, dict[str, Path]]:
    """The images there are, by usage and name."""
    places = {usage: entry_of(home, name) for usage, name in _FOLDERS.items()}
    return {
        usage: {} if place is None else {name: place / name for name in images_under(place)}
        for usage, place in places.items()
    }


def _of_csv(
    table: Path, pixels: Path, usages: Sequence[str]
) -> Iterator[tuple[_Votes, np.ndarray | None]]:
    for row, image in zip_longest(_rows_of(table), rows_of_csv(pixels)):
        if row is None or image is None:
            raise InputError(
                f"{table} has {'fewer' if row is None else 'more'} rows than {pixels}, and both "
                "must list the same images; get both anew"
            )
        if row.usage.lower() != image.usage.lower():
            raise InputError(
                f"{row.where}: Usage is {row.usage}, but {image.usage} in {pixels}, line "
                f"{image.line}, and both must list the same images; get both anew"
            )
        if row.usage in usages:
            yield row, pixels_of(image, pixels)


def _of_folders(
    table: Path, home: Path, usages: Sequence[str]
) -> Iterator[tuple[_Votes, Path | None]]:
    present = _present(home)
    for row in _rows_of(table):
        if row.usage in usages:
            yield row, present[row.usage].get(row.name)


def _rows_of(table: Path) -> Iterator[_Votes]:
    columns = (*VOTES, *NO_CLASS)
    for where, row in read_table(table, ("Usage", _NAME, *columns)):
        if row["Usage"] not in _FOLDERS:
            raise InputError(
                f"{where}: unknown Usage '{shorten(row['Usage'], 40)}'; it must be "
                f"{', '.join(_FOLDERS)}"
            )
        votes = {name: whole_number_in(row[name], name, where, 0, RATERS) for name in columns}
        yield _Votes(where, row["Usage"], row[_NAME], votes)
