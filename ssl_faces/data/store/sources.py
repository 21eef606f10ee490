"""The records of the face sets that are packed: one table of numbers, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_faces.data.faces import FaceSet
from ssl_faces.data.pictures import BadImage
from ssl_faces.data.store.shards import number_of


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The centre square of uint8 [H, W, 3], resized to [3, size, size] with antialiasing."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = Image.fromarray(pixels[top : top + side, left : left + side])
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


class Sources:
    """The N records of several face sets, by their place in one list.

    Args:
        sets: the face sets.
        numbers: the number of each in the pack.

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

    def faces(self, place: int) -> FaceSet:
        """The face set of a record."""
        return self.sets[int(self.sets_of[place])]

    def key(self, place: int) -> str:
        """The key of a record."""
        return self.faces(place).records[int(self.rows[place])].key

    def places(self) -> dict[tuple[int, str], int]:
        """The place of each record, by the number of its set and its key."""
        return {(int(self.sets_of[at]), self.key(at)): at for at in range(len(self))}

    def has_bytes(self, place: int, digest: bytes) -> bool:
        """Whether an image has this SHA-256, and is taken whole (a box may have changed)."""
        faces, row = self.faces(place), int(self.rows[place])
        try:
            return faces.records[row].box is None and faces.content_hash(row) == digest
        except BadImage:
            return False

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
                digest = bytes(32)
                try:
                    if not isinstance(image, BadImage):
                        digest = faces.content_hash(row)
                except BadImage as error:
                    image = error
                images[place] = image, digest
        return [(place, *images[place]) for place in places.tolist()]
