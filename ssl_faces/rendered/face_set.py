"""Rendered faces as a face set: people, parts, labels and pairs to verify."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from types import MappingProxyType
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import check_ranges
from ssl_faces.data.faces import (
    EXPRESSIONS,
    FacePair,
    FaceSample,
    FaceSet,
    Part,
    Shrink,
    in_test_share,
    whole,
)
from ssl_faces.data.pictures import BadPicture
from ssl_faces.rendered.factors import check_size, check_whole, counterpart
from ssl_faces.rendered.labels import GROUPS
from ssl_faces.rendered.records import RenderedRecords, person_name
from ssl_faces.rendered.render import render_faces
from ssl_faces.rendered.sampling import Nuisances, check_nuisances, uniform

FOLDS = 5
"""Folds of `RenderedFaces.pairs`."""

MAX_COUNT = 10_000_000


class RenderedSet(FaceSet):
    """What sets of rendered faces share: pictures are rendered when they are read.

    `FaceRecord.source` is the recipe of the picture, not a file of it: read pictures with `read`.
    """

    class_names = MappingProxyType({"expression": EXPRESSIONS, **GROUPS})
    records: RenderedRecords
    size: int
    counterpart_kinds: tuple[str, ...] = ()

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        """Render face `index`: uint8 RGB [size, size, 3], whatever `at_least` says."""
        return np.ascontiguousarray(self.render_batch([index])[0].permute(1, 2, 0).numpy())

    def read_many(
        self,
        indices: Sequence[int],
        at_least: int | None = None,
        workers: int = 4,
        shrink: Shrink = whole,
    ) -> list[np.ndarray | BadPicture]:
        """Render the faces `indices` at once."""
        rendered = self.render_batch(indices).permute(0, 2, 3, 1).contiguous().numpy()
        return [shrink(pixels) for pixels in rendered]

    def factors(self, indices: Sequence[int] | np.ndarray | Tensor) -> dict[str, Tensor]:
        """Factors of the faces `indices`, float32 [N] each, for `render_faces`.

        Raises:
            IndexError: an index is not below the set's length.
        """
        return self.records.drawn(indices).factors

    def render_batch(
        self,
        indices: Sequence[int] | np.ndarray | Tensor,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Render the faces `indices` at once: uint8 [N, 3, size, size], the pixels of `read`.

        Raises:
            IndexError: an index is not below the set's length.
        """
        factors = self.factors(indices)
        return render_faces({name: value.to(device) for name, value in factors.items()}, self.size)

    def counterparts(
        self, indices: Sequence[int] | np.ndarray | Tensor, kinds: Iterable[str]
    ) -> dict[str, Tensor]:
        """The counterparts of the faces `indices`, by kind: uint8 [N, 3, size, size] each.

        Raises:
            IndexError: an index is not below the set's length.
            InputError: a kind that is none of `COUNTERPARTS`.
        """
        factors = self.factors(indices)
        return {kind: render_faces(counterpart(factors, kind), self.size) for kind in kinds}

    def __getitem__(self, index: int) -> FaceSample:
        sample = super().__getitem__(index)
        if self.counterpart_kinds:
            found = self.counterparts([index], self.counterpart_kinds)
            sample["counterparts"] = {kind: pictures[0] for kind, pictures in found.items()}
        return sample

    def _take_counterparts(self, kinds: Sequence[str]) -> None:
        for kind in kinds:
            counterpart({}, kind)  # refuses kinds that don't exist
        self.counterpart_kinds = tuple(kinds)


def split_people(
    name: Callable[[int], str], people: int, part: Part
) -> tuple[np.ndarray, list[int], list[str]]:
    """Which of the people (bool [people]) are in a part, the numbers of the test people, and the
    names of those in the part.

    Raises:
        InputError: no such part.
    """
    if part not in get_args(Part):
        raise InputError(f"rendered: part must be train, test or all, not {part!r}")
    tested = np.array([in_test_share(name(person)) for person in range(people)])
    shown = np.ones(people, bool) if part == "all" else tested == (part == "test")
    if not shown.any():
        raise InputError(
            f"rendered: none of the people={people} falls in part '{part}'; ask for more people"
        )
    names = [name(person) for person in shown.nonzero()[0].tolist()]
    return shown, tested.nonzero()[0].tolist(), sorted(names)


def check_set(
    name: str, each: str, count: int, people: int, size: int, seed: int, nuisances: Nuisances
) -> None:
    """Refuse a set of `count` (the argument `name`) faces or clips that can't be.

    Raises:
        InputError: an argument out of range.
    """
    check_whole(name, count, 1, MAX_COUNT)
    check_whole("people", people, 1, MAX_COUNT)
    check_size(size)
    check_whole("seed", seed, 0, 2**63 - 1)
    check_nuisances(nuisances)
    if people > count:
        raise InputError(
            f"rendered: people={people} is more than {name}={count}; "
            f"each person needs at least one {each}"
        )


def numbers_of(part: Part, count: int, people: int, shown: np.ndarray) -> range | np.ndarray:
    """Of a set's faces or clips those of a part, by who (bool [people]) is shown in it."""
    if part == "all":
        return range(count)
    numbers = np.arange(count, dtype=np.int32)
    return numbers[shown[numbers % people]]


class RenderedFaces(RenderedSet):
    """Rendered faces as a face set, with every label that a renderer knows.

    Labels: `person`, `expression`, its `intensity` (0 to 1), `units` (float32 [15], the action
    units in the order of `ACTION_UNITS`), `valence`, `arousal`, `pose`, `landmarks` ([68, 2]
    pixels), `landmarks_3d` ([68, 3], the head's frame), `visible` (bool [68]), `age` in years, the
    groups of `GROUPS`, `light` (float32 [3]: azimuth and elevation in degrees, ambient share) and
    `scale` (pixels of half a head's height).

    People are split by name (`in_test_share`); the test people are the `held_out_people`. A
    picture is drawn from (seed, person, number of the picture), so that it is the same in every
    part, and in a set with other `count` or `people`. Nothing is rendered, and no record made,
    before it is asked for: the set's size costs next to no memory.

    Args:
        count: pictures in the part `all`.
        people: people in the part `all`; picture i there shows person `i % people`.
        part: which part.
        size: side of the pictures in pixels, 8 to 1024.
        seed: another seed gives other people (with other names) and pictures.
        nuisances: how much light, place, camera and things in between vary; see `Nuisances`.
        counterparts: kinds of `COUNTERPARTS` that each sample carries, as `counterparts`.

    Raises:
        InputError: an argument out of range, or a part that no person falls in.
    """

    title = "rendered faces"
    split = "by person"
    pose_truth = "exact pose"

    def __init__(
        self,
        count: int = 4096,
        people: int = 256,
        part: Part = "train",
        size: int = 64,
        seed: int = 0,
        nuisances: Nuisances = "mild",
        counterparts: Sequence[str] = (),
    ) -> None:
        check_ranges(RenderedFaces.__init__, locals(), "rendered")
        check_set("count", "picture", count, people, size, seed, nuisances)
        self._take_counterparts(counterparts)
        self.size = size
        self.seed = seed
        self.nuisances = nuisances
        self._count = count

        name = partial(person_name, seed)
        shown, self._test_people, names = split_people(name, people, part)
        numbers = numbers_of(part, count, people, shown)
        super().__init__(
            "rendered",
            part,
            RenderedRecords(numbers, people, seed, size, nuisances),
            held_out_people=frozenset(name(person) for person in self._test_people),
            test=partial(RenderedFaces, count, people, "test", size, seed, nuisances),
            people=names,
        )

    @cached_property
    def pairs(self) -> list[FacePair]:
        """As many pairs of one person as of two, over the test people, by key, in `FOLDS` folds
        that share no person; the same in every part (their pictures are records of `test` and
        `all`). Empty where fewer than `2 * FOLDS` test people have two pictures."""
        names = {person: person_name(self.seed, person) for person in self._test_people}
        return _pairs(self.seed, self._test_people, names, self._count, self.records.people)


def _pairs(
    seed: int, test_people: list[int], names: dict[int, str], count: int, people: int
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
