"""Face sets made of others: some pictures of one, or two as one to learn and to score on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ssl_faces.data.faces import FaceRecord, FaceSet, Part, Shrink, whole
from ssl_faces.data.pictures import BadPicture


class SelectedFaces(FaceSet):
    """Some pictures of a face set, read by it, with records of their own. Nothing scores on it.

    Args:
        faces: the set.
        rows: int [N], which of its pictures.
        records: N, which tell key, person and labels; their sources are not read.
        name, part, class_names: as in `FaceSet`.
    """

    def __init__(
        self,
        faces: FaceSet,
        rows: np.ndarray,
        records: Sequence[FaceRecord],
        name: str,
        part: Part,
        class_names: Mapping[str, Sequence[str]],
    ) -> None:
        super().__init__(name, part, records)
        self.class_names = class_names
        self._faces = faces
        self._rows = rows.tolist()

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        return self._faces.read(self._rows[index], at_least)

    def read_many(
        self,
        indices: Sequence[int],
        at_least: int | None = None,
        workers: int = 4,
        shrink: Shrink = whole,
    ) -> list[np.ndarray | BadPicture]:
        return self._faces.read_many([self._rows[i] for i in indices], at_least, workers, shrink)

    def content_hash(self, index: int) -> bytes:
        return self._faces.content_hash(self._rows[index])

    def version(self, index: int) -> bytes:
        return self._faces.version(self._rows[index])


class JoinedFaces(FaceSet):
    """The records of `train` with keys `train/…`, then those of `test` with keys `test/…`.

    Its part is `all`, and its part `test` the records of `test`. Pictures are read by the sets that
    they are of.

    Args:
        train, test: each in the part that is wanted of it.
        name: how caches call it; letters that a file's name may have.
        title, split: as in `FaceSet`.
    """

    def __init__(self, train: FaceSet, test: FaceSet, name: str, title: str, split: str) -> None:
        super().__init__(
            name,
            "all",
            [*_prefixed(train, "train"), *_prefixed(test, "test")],
            held_out_people=test.held_out_people,
            skipped=[
                item._replace(key=f"{side}/{item.key}")
                for side, faces in (("train", train), ("test", test))
                for item in faces.skipped
            ],
            test=self._tested,
        )
        self.class_names = train.class_names
        self.title = title
        self.split = split
        self._sides = (train, test)

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        faces, row = self._of(index)
        return faces.read(row, at_least)

    def read_many(
        self,
        indices: Sequence[int],
        at_least: int | None = None,
        workers: int = 4,
        shrink: Shrink = whole,
    ) -> list[np.ndarray | BadPicture]:
        # Of either side at once: sets that make their pictures are faster so.
        found: dict[int, np.ndarray | BadPicture] = {}
        places = [self._of(index) for index in indices]
        for faces in self._sides:
            here = {place: row for place, (of, row) in enumerate(places) if of is faces}
            if here:
                pictures = faces.read_many(list(here.values()), at_least, workers, shrink)
                found |= zip(here, pictures, strict=True)
        return [found[place] for place in range(len(places))]

    def content_hash(self, index: int) -> bytes:
        faces, row = self._of(index)
        return faces.content_hash(row)

    def version(self, index: int) -> bytes:
        faces, row = self._of(index)
        return faces.version(row)

    def _of(self, index: int) -> tuple[FaceSet, int]:
        """The set that face `index` is of, and where it is there."""
        train, test = self._sides
        place = range(len(self))[index]
        return (train, place) if place < len(train) else (test, place - len(train))

    def _tested(self) -> FaceSet:
        first = len(self._sides[0])
        rows = np.arange(first, len(self))
        return SelectedFaces(self, rows, self.records[first:], self.name, "test", self.class_names)


def _prefixed(faces: FaceSet, side: str) -> list[FaceRecord]:
    return [replace(record, key=f"{side}/{record.key}") for record in faces.records]
