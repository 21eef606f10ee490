"""Two face sets as one, to learn on the first and to score on the second."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ssl_faces.data.faces import FaceRecord, FaceSet, Part


class JoinedFaces(FaceSet):
    """The records of `train` with keys `train/…`, then those of `test` with keys `test/…`.

    Its part is `all`, and its part `test` the records of `test`. Sets that make their pictures
    (`RenderedFaces`) can't be joined.

    Args:
        train, test: each in the part that is wanted of it.
        name: how caches call it; letters that a file's name may have.
        title, split: as in `FaceSet`.
    """

    def __init__(self, train: FaceSet, test: FaceSet, name: str, title: str, split: str) -> None:
        tested = _prefixed(test, "test")
        super().__init__(
            name,
            "all",
            [*_prefixed(train, "train"), *tested],
            held_out_people=test.held_out_people,
            skipped=[
                item._replace(key=f"{side}/{item.key}")
                for side, faces in (("train", train), ("test", test))
                for item in faces.skipped
            ],
            test=partial(FaceSet, name, _TEST, tested),
        )
        self.class_names = train.class_names
        self.title = title
        self.split = split


_TEST: Part = "test"


def _prefixed(faces: FaceSet, side: str) -> list[FaceRecord]:
    return [replace(record, key=f"{side}/{record.key}") for record in faces.records]
