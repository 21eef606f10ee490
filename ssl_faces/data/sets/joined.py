"""Face sets made of others: some images of one, or two as one to learn and to score on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ssl_faces.data.faces import FaceRecord, FaceSet, Part, Shrink, whole
from ssl_faces.data.pictures import BadImage


class SelectedFaces(FaceSet):
    """Images that other sets read, with records of its own, whose sources are not read.

    Args:
        places: of each record, the set that reads it and its index there.
        name, part, records, class_names, options: as in `FaceSet`.
    """

    def __init__(
        self,
        places: Sequence[tuple[FaceSet, int]],
        name: str,
        part: Part,
        records: Sequence[FaceRecord],
        class_names: Mapping[str, Sequence[str]],
        **options: Any,
    ) -> None:
        super().__init__(name, part, records, **options)
        self.class_names = class_names
        self._places = places

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        faces, row = self._places[index]
        return faces.read(row, at_least)

    def read_many(
        self,
        indices: Sequence[int],
        at_least: int | None = None,
        workers: int = 4,
        shrink: Shrink = whole,
    ) -> list[np.ndarray | BadImage]:
        # One set after the other: sets that make their images are faster with many at once.
        images: dict[int, np.ndarray | BadImage] = {}
        places = [self._places[index] for index in indices]
        for faces in {id(faces): faces for faces, _ in places}.values():
            here = {place: row for place, (of, row) in enumerate(places) if of is faces}
            read = faces.read_many(list(here.values()), at_least, workers, shrink)
            images |= zip(here, read, strict=True)
        return [images[place] for place in range(len(places))]

    def content_hash(self, index: int) -> bytes:
        faces, row = self._places[index]
        return faces.content_hash(row)

    def version(self, index: int) -> bytes:
        faces, row = self._places[index]
        return faces.version(row)


class JoinedFaces(SelectedFaces):
    """The records of `train` with keys `train/…`, then those of `test` with keys `test/…`.

    Its part is `all`, and its part `test` the records of `test`.

    Args:
        train, test: each in the part that is wanted of it.
        name: how caches call it; letters that a file's name may have.
        title, split: as in `FaceSet`.
    """

    def __init__(self, train: FaceSet, test: FaceSet, name: str, title: str, split: str) -> None:
        sides = (("train", train), ("test", test))
        super().__init__(
            [(faces, row) for _, faces in sides for row in range(len(faces))],
            name,
            "all",
            [
                replace(record, key=f"{side}/{record.key}")
                for side, faces in sides
                for record in faces.records
            ],
            train.class_names,
            held_out_people=test.held_out_people,
            skipped=[
                item._replace(key=f"{side}/{item.key}")
                for side, faces in sides
                for item in faces.skipped
            ],
            test=self._tested,
        )
        self.pose_truth = test.pose_truth
        self.near_copies = train.near_copies and test.near_copies
        self.title = title
        self.split = split
        self._first = len(train)

    def _tested(self) -> FaceSet:
        places = [(self, row) for row in range(self._first, len(self))]
        records = self.records[self._first :]
        return SelectedFaces(places, self.name, "test", records, self.class_names)
