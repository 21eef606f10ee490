"""Rendered faces as a face set: people, parts, labels and pairs to verify."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import partial
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from ssl_faces.data.faces import (
    EXPRESSIONS,
    FacePair,
    FaceRecord,
    FaceSet,
    Part,
    in_test_share,
)
from ssl_faces.data.pictures import BadPicture
from ssl_faces.data.rendered.factors import check_size, is_whole
from ssl_faces.data.rendered.landmarks import project_landmarks
from ssl_faces.data.rendered.render import render_faces
from ssl_faces.data.rendered.sampling import sample_factors, uniform
from ssl_faces.errors import InputError

FOLDS = 5
"""Folds of `RenderedFaces.pairs`."""

RECIPE = "rendered-1"  # part of every content hash: raise it when the pixels of a face change
MAX_COUNT = 10_000_000


class RenderedFaces(FaceSet):
    """Rendered faces as a face set, with `person`, `expression`, `pose` and `landmarks` labels.

    People are split by name (`in_test_share`); the test people are the `held_out_people`. A
    picture is drawn from (seed, person, number of the picture), so that it is the same in every
    part, and in a set with other `count` or `people`. Nothing is rendered before it is read, and
    `FaceRecord.source` is the recipe of the picture, not a file of it: read pictures with `read`.

    Args:
        count: pictures in the part `all`.
        people: people in the part `all`; picture i there shows person `i % people`.
        part: which part.
        size: side of the pictures in pixels, 8 to 1024.
        seed: another seed gives other people (with other names) and pictures.

    Attributes:
        pairs: as many pairs of one person as of two, over the test people, by key, in `FOLDS`
            folds that share no person; the same in every part (their pictures are records of
            `test` and `all`). Empty where fewer than `2 * FOLDS` test people have two pictures.

    Raises:
        InputError: an argument out of range, or a part that no person falls in.
    """

    title = "rendered faces"
    split = "by person"

    pairs: list[FacePair]

    def __init__(
        self,
        count: int = 4096,
        people: int = 256,
        part: Part = "train",
        size: int = 64,
        seed: int = 0,
    ) -> None:
        for argument, value in (("count", count), ("people", people)):
            if not is_whole(value) or not 1 <= value <= MAX_COUNT:
                raise InputError(
                    f"rendered: {argument} must be a whole number from 1 to {MAX_COUNT}, "
                    f"not {value!r}"
                )
        check_size(size)
        if not is_whole(seed) or not 0 <= seed < 2**63:
            raise InputError(f"rendered: seed must be a whole number from 0, not {seed!r}")
        if part not in get_args(Part):
            raise InputError(f"rendered: part must be train, test or all, not {part!r}")
        if people > count:
            raise InputError(
                f"rendered: people={people} is more than count={count}; "
                "each person needs at least one picture"
            )
        self.size = size
        self.seed = seed

        prefix = "rendered" if seed == 0 else f"rendered{seed}"
        names = [f"{prefix}_{person:05d}" for person in range(people)]
        tested = np.array([in_test_share(name) for name in names])
        numbers = np.arange(count)
        if part != "all":
            numbers = numbers[tested[numbers % people] == (part == "test")]
        if len(numbers) == 0:
            raise InputError(
                f"rendered: none of the people={people} falls in part '{part}'; ask for more people"
            )
        self._person, self._picture = numbers % people, numbers // people
        # Each person goes through the expressions in turn, from a place of their own.
        stream = zlib.crc32(b"expression")
        first = uniform(seed, stream, self._person, 0 * self._person) * len(EXPRESSIONS)
        self._expression = (self._picture + first.astype(np.int64)) % len(EXPRESSIONS)

        factors = sample_factors(seed, self._person, self._picture, self._expression)
        poses = torch.stack([factors["yaw"], factors["pitch"], factors["roll"]], dim=1)
        landmarks = project_landmarks(factors, size)
        records = []
        for person, picture, expression, pose, points in zip(
            self._person.tolist(),
            self._picture.tolist(),
            self._expression.tolist(),
            poses.unbind(),
            landmarks.unbind(),
            strict=True,
        ):
            labels = {"expression": expression, "pose": pose, "landmarks": points}
            key = f"{names[person]}/{picture:04d}"
            recipe = f"{RECIPE} {key} {seed} {size}".encode()
            records.append(FaceRecord(key, recipe, names[person], labels))
        test_people = [person for person in range(people) if tested[person]]
        super().__init__(
            "rendered",
            part,
            records,
            held_out_people=frozenset(names[person] for person in test_people),
            test=partial(RenderedFaces, count, people, "test", size, seed),
        )
        self.pairs = verification_pairs(seed, test_people, names, count, people)

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        """Render face `index`: uint8 RGB [size, size, 3], whatever `at_least` says."""
        return np.ascontiguousarray(self.render_batch([index])[0].permute(1, 2, 0).numpy())

    def read_many(
        self, indices: Sequence[int], at_least: int | None = None, workers: int = 4
    ) -> list[np.ndarray | BadPicture]:
        """Render the faces `indices` at once."""
        return list(self.render_batch(indices).permute(0, 2, 3, 1).contiguous().numpy())

    def factors(self, indices: Sequence[int] | np.ndarray | Tensor) -> dict[str, Tensor]:
        """Factors of the faces `indices`, float32 [N] each, for `render_faces`.

        Raises:
            IndexError: an index is not below the set's length.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        return sample_factors(
            self.seed, self._person[chosen], self._picture[chosen], self._expression[chosen]
        )

    def render_batch(self, indices: Sequence[int] | np.ndarray | Tensor) -> Tensor:
        """Render the faces `indices` at once: uint8 [N, 3, size, size], the pixels of `read`.

        Raises:
            IndexError: an index is not below the set's length.
        """
        return render_faces(self.factors(indices), self.size)


def verification_pairs(
    seed: int, test_people: list[int], names: list[str], count: int, people: int
) -> list[FacePair]:
    pictures = {p: count // people + (p < count % people) for p in test_people}
    several = [p for p in test_people if pictures[p] > 1]
    if len(several) < 2 * FOLDS:
        return []

    def draw(name: str, first: int, second: np.ndarray) -> np.ndarray:
        return uniform(seed, zlib.crc32(name.encode()), np.array(first), second)

    several = [several[i] for i in draw("folds", 0, np.array(several)).argsort()]
    pairs = []
    for fold in range(FOLDS):
        members = several[fold::FOLDS]
        for person in members:
            numbers = np.arange(pictures[person])
            # A circle through the person's pictures: each is in two pairs (in one, of two).
            order = draw("order", person, numbers).argsort()
            who, which = draw("other", person, numbers), draw("picture", person, numbers)
            for i in range(len(order) if len(order) > 2 else 1):
                other = members[int(who[i] * (len(members) - 1))]
                other = members[-1] if other == person else other
                first = f"{names[person]}/{order[i]:04d}"
                same = f"{names[person]}/{order[(i + 1) % len(order)]:04d}"
                different = f"{names[other]}/{int(which[i] * pictures[other]):04d}"
                pairs.append(FacePair(first, same, True, fold))
                pairs.append(FacePair(first, different, False, fold))
    return pairs
