"""Leaks in a user's own data: the same picture, or the same person, on both sides of a split."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ssl_faces import InputError
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.files import replace_file
from ssl_faces.data import FaceSet

LEAKS_FILE = "leaks.csv"
SAME_BYTES = "same bytes"
SAME_PERSON = "same person"


class Leak(NamedTuple):
    """One image of something that lies on several sides: `SAME_BYTES` (by their SHA-256) or
    `SAME_PERSON`; its side (`train`, `test`, or a fold) and its key."""

    reason: str
    shared: str
    side: str
    picture: str


class Placed(NamedTuple):
    """A picture and where it is used."""

    side: str
    picture: str
    content: str
    person: str | None


def placed(faces: FaceSet, side: str) -> list[Placed]:
    """Every picture of a face set on one side; those that can't be read have no content."""
    return [
        Placed(side, record.key, faces.hash_if_readable(i).hex(), record.person)
        for i, record in enumerate(faces.records)
    ]


def find_leaks(pictures: Iterable[Placed]) -> list[Leak]:
    """All pictures whose bytes or person lie on more than one side, alike ones together."""
    by_shared: dict[tuple[str, str], list[Placed]] = defaultdict(list)
    for picture in dict.fromkeys(pictures):
        if picture.content:
            by_shared[SAME_BYTES, picture.content].append(picture)
        if picture.person:
            by_shared[SAME_PERSON, picture.person].append(picture)
    return [
        Leak(reason, shared, picture.side, picture.picture)
        for (reason, shared), group in sorted(by_shared.items())
        if len({picture.side for picture in group}) > 1
        for picture in group
    ]


def refuse_leaks(leaks: list[Leak], out: Path, what: str) -> None:
    """Write all leaks to `out`/leaks.csv and stop, where there are any; else delete an older list.
    `what`: the sides, in words, such as `--train and --test`. Raises InputError: there are
    leaks, or the list can't be written."""
    path = out / LEAKS_FILE
    if not leaks:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = CsvWriter(text)
    writer.writerow(Leak._fields)
    writer.writerows(leaks)
    replace_file(path, text.getvalue().encode(errors="backslashreplace"))
    counts = {
        words: len({leak.shared for leak in leaks if leak.reason == reason})
        for reason, words in ((SAME_BYTES, "picture(s)"), (SAME_PERSON, "person(s)"))
    }
    shared = " and ".join(f"{count:,} {words}" for words, count in counts.items() if count)
    raise InputError(
        f"{what} share {shared}, so that a figure would reward memory: they are listed in {path}; "
        "take them out of one side"
    )
