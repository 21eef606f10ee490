"""FERPlus: the pictures of FER-2013, labelled anew by ten people each; contempt is an eighth class.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced
Label Distribution", ICMI 2016, and its authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.fer2013 import CSV_FILES, csv_of, pixels_of, rows_of_csv
from ssl_faces.data.sets.folder import entry_of, existing_folder, pictures_under
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
"""Columns of votes for none of the classes, and why pictures are left out for them."""

NO_MAJORITY = "without a majority"

RATERS = 10

_NAME = "Image name"  # empty where the owner took the picture out, as it shows no face
# Folders that the owner's script writes the pictures to, by part.
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


class FERPlus(FaceSet):
    """FERPlus with `expression` labels of eight classes, `CLASSES`; no person is known.

    `root` holds the owner's `fer2013new.csv` and, beside it, either `fer2013.csv` (row by row the
    same pictures) or the folders `FER2013Train`, `FER2013Valid` and `FER2013Test` that the owner's
    script writes (`fer0000000.png`, also in a folder `data` or `images`). FER-2013 as class folders
    doesn't serve: the names of its pictures don't tell their rows.

    The label is the majority's, as in the owner's code: single votes are dropped, and a class must
    have more than half of the votes that are left, those for unknown and for no face (NF) among
    them. Pictures without such a class are left out (so are ties), listed in `skipped` and counted
    in `left_out`.

    `test` is PrivateTest, which the paper and those after it score on; PublicTest, on which they
    choose, is in no part, as it is the test part of FER-2013. `train` is Training, but empty beside
    `fer2013.csv`, so that pretraining on the folder, which takes the same pictures from FER-2013,
    doesn't see them twice; `all` has them.

    Attributes:
        left_out: how many pictures of the part's usages have no class, by why.

    Raises:
        InputError: a file or folder is missing, a row can't be read, or the two tables don't go
            together.
    """

    title = "FERPlus"
    split = "Training -> PrivateTest"
    class_names = MappingProxyType({"expression": CLASSES})

    left_out: dict[str, int]

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "ferplus")
        table, pixels, pictures = places_in(folder)
        if table is None or (pixels is None and pictures is None):
            raise InputError(
                f"ferplus: {folder} has no {LABEL_FILE}; get it from the owner of FERPlus"
                if table is None
                else f"ferplus: {folder} has no {CSV_FILE} and no {_FOLDERS['Training']}/ beside "
                f"{LABEL_FILE}, whose rows can't be told of pictures with other names; add "
                f"{CSV_FILE}"
            )
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        left_out: dict[str, int] = {}
        if not (pixels is not None and part == "train"):
            rows = (
                _of_csv(table, pixels, _USAGES[part])
                if pixels is not None
                else _of_folders(table, pictures or folder, _USAGES[part])
            )
            for row, picture in rows:
                key = f"{row.usage}/{row.name or row.where.rpartition(', ')[2]}"
                found = majority(row.votes) if row.name else NO_CLASS["NF"]
                if found not in CLASSES:
                    left_out[found] = left_out.get(found, 0) + 1
                    skipped.append(Skipped(key, f"{found}: none of the classes"))
                elif picture is None:
                    skipped.append(Skipped(key, f"named in {table.name}, missing on disk"))
                else:
                    labels = {"expression": CLASSES.index(found)}
                    records.append(FaceRecord(key, picture, labels=labels))
        super().__init__(
            "ferplus",
            part,
            records,
            skipped=skipped,
            test=partial(FERPlus, root, "test"),
            empty=pixels is not None and part == "train",
        )
        self.left_out = left_out


def majority(votes: Mapping[str, int]) -> str:
    """One of `CLASSES`, or of the values of `NO_CLASS`, or `NO_MAJORITY`.

    Args:
        votes: by column of the owner's table, all ten.
    """
    kept = {column: count if count > 1 else 0 for column, count in votes.items()}
    first = max(kept, key=lambda column: kept[column])
    if 2 * kept[first] <= sum(kept.values()):
        return NO_MAJORITY
    return (VOTES | NO_CLASS)[first]


def places_in(folder: Path) -> tuple[Path | None, Path | None, Path | None]:
    """The table of votes, `fer2013.csv`, and what holds the folders of pictures; each None where
    it isn't there."""
    inner = (entry_of(folder, name) for name in ("data", "images"))
    homes = [folder, *(home for home in inner if home is not None and home.is_dir())]
    pictures = [home for home in homes if any(entry_of(home, name) for name in _FOLDERS.values())]
    return entry_of(folder, LABEL_FILE), csv_of(folder), next(iter(pictures), None)


def is_layout(folder: Path) -> bool:
    """Whether it holds the votes, and pictures that can be told by them."""
    table, pixels, pictures = places_in(folder)
    return table is not None and (
        pixels is not None or (pictures is not None and any(_present(pictures).values()))
    )


def has_votes_only(folder: Path) -> bool:
    """Whether it holds the votes, and no pictures that can be told by them."""
    return entry_of(folder, LABEL_FILE) is not None and not is_layout(folder)


def _present(home: Path) -> dict[str, dict[str, Path]]:
    """The pictures there are, by usage and name."""
    found: dict[str, dict[str, Path]] = {usage: {} for usage in _FOLDERS}
    for usage, name in _FOLDERS.items():
        place = entry_of(home, name)
        if place is not None:
            found[usage] = {picture: place / picture for picture in pictures_under(place)}
    return found


def _of_csv(
    table: Path, pixels: Path, usages: Sequence[str]
) -> Iterator[tuple[_Votes, np.ndarray | None]]:
    for row, picture in zip_longest(_rows_of(table), rows_of_csv(pixels)):
        if row is None or picture is None:
            raise InputError(
                f"{table} has {'fewer' if row is None else 'more'} rows than {pixels}, and both "
                "must list the same pictures; get both anew"
            )
        if row.usage.lower() != picture.usage.lower():
            raise InputError(
                f"{row.where}: Usage is {row.usage}, but {picture.usage} in {pixels}, line "
                f"{picture.line}, and both must list the same pictures; get both anew"
            )
        if row.usage in usages:
            yield row, pixels_of(picture, pixels)


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
