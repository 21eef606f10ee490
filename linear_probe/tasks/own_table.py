"""A user's own labels in CSV tables: a picture a row, what is known of it in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ssl_faces import InputError
from ssl_faces.common.errors import shorten
from ssl_faces.data import EXPRESSIONS, FaceRecord, FaceSet, JoinedFaces, Skipped
from ssl_faces.data.sets.expressions import expression_of
from ssl_faces.data.sets.utkface import OLDEST
from ssl_faces.data.tables import MEND, described, file_in, header_of, number_in, read_table

PICTURE_COLUMNS = ("image", "picture", "path", "file")
"""Names that the column of pictures may have."""

NAMED = {"gender": "gender", "race": "race", "class": "category"}
"""Label columns with any names of classes, and the labels that they give."""

TOGETHER = (("yaw", "pitch", "roll"), ("valence", "arousal"))
"""Columns of numbers that go together."""

LABEL_COLUMNS = ("expression", *TOGETHER[0], "age", *NAMED, *TOGETHER[1])

MOST_MISSING = 0.2
"""Share of rows that can't be used from which the run stops."""


class _Row(NamedTuple):
    picture: str
    file: Path | None
    person: str | None
    labels: dict[str, Any]  # of NAMED as text
    fault: str  # why the row can't be used; empty if it can


def table_faces(train_csv: str | Path, test_csv: str | Path) -> tuple[FaceSet, FaceSet]:
    """The two tables as face sets with the labels that their columns have.

    A table has a header, a column of images (one of `PICTURE_COLUMNS`; paths from the table's
    folder or from `images/` in it), some of `LABEL_COLUMNS`, the same in both, and may have
    `person`. `expression` is one of EXPRESSIONS, angles are in degrees (yaw above 0 looks to the
    image's left, pitch above 0 looks down, roll above 0 is clockwise), `age` in years, `class`,
    `gender` and `race` any names, `valence` and `arousal` from -1 to 1. An empty cell is an unknown
    label. A row with an invalid label, or whose image is missing, is in `skipped` with its reason.

    Raises:
        InputError: a table can't be read, a column is missing, a row has no image or one that
            another row has (names file and line), or more than `MOST_MISSING` of the rows can't be
            used.
    """
    paths = Path(train_csv).expanduser(), Path(test_csv).expanduser()
    headers = [header_of(path) for path in paths]
    for path, header, other, others in (
        (paths[0], headers[0], paths[1], headers[1]),
        (paths[1], headers[1], paths[0], headers[0]),
    ):
        lacking = [name for name in LABEL_COLUMNS if name in others and name not in header]
        if lacking:
            raise InputError(
                f"{path}, line 1: column {lacking[0]} is missing, which {other} has; add it to the "
                "one or take it out of the other"
            )
    tables = [_rows_of(path, header) for path, header in zip(paths, headers, strict=True)]
    names = {
        column: sorted(
            {row.labels[column] for rows in tables for row in rows if column in row.labels}
        )
        for column in NAMED
    }
    train, test = (_face_set(path, rows, names) for path, rows in zip(paths, tables, strict=True))
    return train, test


def joined_tables(train: FaceSet, test: FaceSet) -> JoinedFaces:
    """The two sets of `table_faces` as one, to learn on the first and score on the second."""
    split = f"{train.title} -> {test.title}"
    return JoinedFaces(train, test, "own_table", test.title, split)


def _rows_of(path: Path, header: Sequence[str]) -> list[_Row]:
    pictures = [name for name in PICTURE_COLUMNS if name in header]
    if not pictures:
        raise InputError(
            f"{path}, line 1: no column of pictures; the first line must name {PICTURE_COLUMNS[0]} "
            f"(paths from the table's folder), {described(header)}"
        )
    labels = [name for name in LABEL_COLUMNS if name in header]
    if not labels:
        raise InputError(
            f"{path}, line 1: no column of labels; the first line must name some of "
            f"{', '.join(LABEL_COLUMNS)}, {described(header)}"
        )
    for group in TOGETHER:
        lacking = [name for name in group if name not in header]
        if lacking and len(lacking) < len(group):
            raise InputError(
                f"{path}, line 1: column {lacking[0]} is missing, which goes with "
                f"{next(name for name in group if name in header)}; add it, or take those out"
            )
    rows: list[_Row] = []
    line_of: dict[str, str] = {}
    for where, values in read_table(path, [pictures[0], *labels], ["person"]):
        picture, file = file_in(values[pictures[0]], path.parent, path.parent / "images")
        if not picture:
            raise InputError(f"{where}: {pictures[0]} is empty; {MEND}")
        if picture in line_of:
            raise InputError(
                f"{where}: {shorten(picture)} was already given in {line_of[picture]}; delete one"
            )
        line_of[picture] = where.rpartition(", ")[2]
        person = values.get("person") or None
        known: dict[str, Any] = {}
        line = f"{path.name}, {line_of[picture]}"
        fault = f"named in {line}; missing on disk" if file is None else ""
        try:
            known = _labels(values, line)
        except InputError as error:
            fault = fault or str(error).removesuffix(f"; {MEND}")
        rows.append(_Row(picture, file, person, known, fault))
    if not rows:
        raise InputError(f"{path}: no row below the header; add pictures")
    return rows


def _labels(values: Mapping[str, str], where: str) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    if text := values.get("expression", ""):
        expression = expression_of(text)
        if expression is None:
            raise InputError(
                f"{where}: expression is '{shorten(text, 40)}', none of "
                f"{', '.join(EXPRESSIONS)}; {MEND}"
            )
        labels["expression"] = expression
    for group, low, high in ((TOGETHER[0], -180, 180), (TOGETHER[1], -1, 1)):
        if any(values.get(name) for name in group):
            numbers = [number_in(values[name], name, where, low, high) for name in group]
            if group == TOGETHER[0]:
                labels["pose"] = torch.tensor(numbers, dtype=torch.float32)
            else:
                labels |= zip(group, numbers, strict=True)
    if text := values.get("age", ""):
        labels["age"] = number_in(text, "age", where, 0, OLDEST)
    return labels | {name: values[name] for name in NAMED if values.get(name)}


def _face_set(path: Path, rows: Sequence[_Row], names: Mapping[str, list[str]]) -> FaceSet:
    folder = path.parent
    records: list[FaceRecord] = []
    skipped: list[Skipped] = []
    for row in rows:
        if row.fault or row.file is None:
            skipped.append(Skipped(row.picture, row.fault))
            continue
        labels = {n: value for n, value in row.labels.items() if n not in NAMED}
        for column, label in NAMED.items():
            if column in row.labels:
                labels[label] = names[column].index(row.labels[column])
        records.append(FaceRecord(row.picture, row.file, row.person, labels))
    if len(skipped) > MOST_MISSING * len(rows):
        missing = sum(row.file is None for row in rows)
        if missing == len(skipped):
            raise InputError(
                f"{path}: {missing:,} of its {len(rows):,} pictures are missing, such as "
                f"{shorten(skipped[0].key)}; give paths from {folder} or from its folder images"
            )
        raise InputError(
            f"{path}: {len(skipped):,} of its {len(rows):,} rows can't be used; the first: "
            f"{next(row.fault for row in rows if row.fault and row.file)}; {MEND}"
        )
    faces = FaceSet("own_table", "all", records, skipped=skipped)
    faces.title = str(path)
    faces.near_copies = not faces.people
    own = {label: names[column] for column, label in NAMED.items()}
    faces.class_names = {"expression": EXPRESSIONS, **own}
    return faces
