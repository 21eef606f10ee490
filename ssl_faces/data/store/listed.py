"""The images that are to be packed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ssl_faces.data.faces import FaceSet
from ssl_faces.data.pictures import BadImage, square
from ssl_faces.data.store.held_out import (
    number_of,
)
from ssl_faces.data.store.index import (
    Passed,
)


class Listed:
    """The N records of several face sets, by their place in one list.

    Attributes:
        sets_of: int64 [N], the number of each record's face set in the pack.
        rows: int64 [N], its index in the face set.
        versions: int64 [N], `number_of` set, key and stored version.
        people: int64 [N], `number_of` the person's name, or -1.
        order: int64 [N], by which images without a person are ordered.
    """

    def __init__(self, sets: Sequence[FaceSet], numbers: Sequence[int]) -> None:
        self.sets = dict(zip(numbers, sets, strict=True))
        table = []
        for number, faces in self.sets.items():
            for i, record in enumerate(faces.records):
                name, key = faces.name.encode(), record.key.encode(errors="surrogateescape")
                version = number_of(b"\0".join((name, key, faces.version(i))))
                # Versions of files change with each copy; the order of training must not.
                order = number_of(record.key) if isinstance(record.source, Path) else version
                person = -1 if record.person is None else number_of(record.person)
                table.append((number, i, version, person, order))
        columns = np.array(table, np.int64).reshape(-1, 5).T
        self.sets_of, self.rows, self.versions, self.people, self.order = columns.copy()

    def __len__(self) -> int:
        return len(self.rows)

    def key(self, place: int) -> str:
        return self.sets[int(self.sets_of[place])].records[int(self.rows[place])].key

    def passed(self, place: int, reason: str) -> Passed:
        name = self.sets[int(self.sets_of[place])].name
        return Passed(name, self.key(place), reason, int(self.versions[place]))

    def has_bytes(self, place: int, digest: bytes) -> bool:
        """Whether an image has this SHA-256, and is taken whole (a box may have changed)."""
        faces, row = self.sets[int(self.sets_of[place])], int(self.rows[place])
        return faces.records[row].box is None and faces.hash_if_readable(row) == digest

    def decoded(
        self, places: np.ndarray, size: int, workers: int
    ) -> list[tuple[int, np.ndarray | BadImage, bytes]]:
        """Place, centre square and SHA-256 of each of the `places`, in their order."""
        images: dict[int, tuple[np.ndarray | BadImage, bytes]] = {}
        for number, faces in self.sets.items():
            mine = places[self.sets_of[places] == number].tolist()
            rows = self.rows[mine].tolist()
            squares = faces.read_many(rows, size, workers, partial(square, size=size))
            for place, row, image in zip(mine, rows, squares, strict=True):
                digest = b"" if isinstance(image, BadImage) else faces.hash_if_readable(row)
                if not digest and not isinstance(image, BadImage):
                    image = BadImage("can't be read")
                images[place] = image, digest or bytes(32)
        return [(place, *images[place]) for place in places.tolist()]
