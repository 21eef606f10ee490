"""Faces in an array whose pixels say which image they are, and the pairs that are made of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from ssl_faces.pairs.pairing import PairBatch, PairBatches

MARK = 255
SHARD = 5


def pictures(numbers: range) -> np.ndarray:
    """uint8 [N, 3, 4, 4]: flat, of a level that is the picture's number, marked at the left."""
    images = np.empty((len(numbers), 3, 4, 4), np.uint8)
    images[:] = np.array(numbers, np.uint8)[:, None, None, None]
    images[..., 0] = MARK
    return images


class ArrayFaces:
    """Pictures in memory as `Faces`: one shard an array, all or the `chosen` numbers of them."""

    size = 4

    def __init__(
        self, arrays: list[np.ndarray], people: np.ndarray, chosen: np.ndarray | None = None
    ) -> None:
        self.images = np.concatenate(arrays).reshape(sum(map(len, arrays)), -1)
        starts = np.cumsum([0, *map(len, arrays)])
        numbers = np.arange(len(self.images)) if chosen is None else chosen
        self.people = np.full(len(self.images), -1)
        self.people[numbers] = people
        self.shards = [numbers[(numbers >= a) & (numbers < b)] for a, b in pairwise(starts)]
        self.counts = np.array([len(rows) for rows in self.shards])

    def listed(self, shards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.concatenate([self.shards[shard] for shard in shards])
        return numbers, self.people[numbers]

    def ahead(self, shards: np.ndarray) -> None:
        pass

    def leave(self, shards: np.ndarray) -> None:
        pass

    def read(self, numbers: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        for number, place in zip(numbers, places, strict=True):
            out[place] = self.images[number]


def shown(picture: torch.Tensor) -> tuple[int, bool]:
    """The number of a picture of a pair, and whether it is mirrored."""
    left, right = picture[..., 0].unique().tolist(), picture[..., -1].unique().tolist()
    assert len(left) == len(right) == 1
    assert (left[0] == MARK) != (right[0] == MARK)
    return (right[0], False) if left[0] == MARK else (left[0], True)


def pairs_of(batches: list[PairBatch]) -> list[tuple[int, int, bool]]:
    """Number of the first, number of the second, whether the second is mirrored."""
    rows = []
    for batch in batches:
        for first, second in batch["pairs"]:
            number, mirrored = shown(first)
            assert not mirrored, "the first picture is never mirrored"
            rows.append((number, *shown(second)))
    return rows


def batches_of(
    count: int = 24, people: list[int] | None = None, epoch: int = 0, **kwargs: object
) -> PairBatches:
    faces = ArrayFaces(
        [pictures(range(count))[a : a + SHARD] for a in range(0, count, SHARD)],
        np.array(people if people is not None else [-1] * count),
    )
    found = PairBatches(faces, **{"batch_size": 4, **kwargs})  # type: ignore[arg-type]
    found.epoch = epoch
    return found


def assert_same(ours: list[PairBatch], theirs: list[PairBatch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one["pairs"], other["pairs"])
        assert one["seed"] == other["seed"]


PEOPLE = [0] * 8 + [-1] * 4 + [2] * 3 + [1] + [0] * 2 + [7] * 6
"""Person 0 in two stretches, person 1 with one picture, four pictures of nobody."""
GROUPS = [[*range(8), 16, 17], [8], [9], [10], [11], [12, 13, 14], [15], [*range(18, 24)]]
