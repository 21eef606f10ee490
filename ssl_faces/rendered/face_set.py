"""Rendered faces as a face set: people, parts, labels and verification pairs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property, partial
from types import MappingProxyType
from typing import Annotated, get_args

import numpy as np
import torch
from pydantic import PlainValidator
from torch import Tensor

from ssl_faces.common.arguments import whole as whole_number
from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import ImageSide, Seed, check_ranges
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
from ssl_faces.data.pictures import BadImage
from ssl_faces.rendered.factors import counterpart
from ssl_faces.rendered.labels import GROUPS
from ssl_faces.rendered.records import RenderedRecords, person_name
from ssl_faces.rendered.render import render_faces
from ssl_faces.rendered.sampling import Nuisances, check_nuisances, uniform

FOLDS = 5
"""Folds of `RenderedFaces.pairs`."""

MAX_COUNT = 10_000_000
Count = Annotated[int, PlainValidator(whole_number(1, MAX_COUNT))]
Indices = Sequence[int] | np.ndarray | Tensor


class RenderedSet(FaceSet):
    """Base of rendered sets: images are rendered when they are read.

    `FaceRecord.source` is the recipe of the image, not its file: use `read`.
    """

    class_names = MappingProxyType({"expression": EXPRESSIONS, **GROUPS})
    identity_labels = False
    records: RenderedRecords
    size: int
    counterpart_kinds: tuple[str, ...] = ()

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        """Render face `index`: uint8 RGB [size, size, 3]; `at_least` has no effect."""
        return np.ascontiguousarray(self.render_batch([index])[0].permute(1, 2, 0).numpy())

    def read_many(
        self,
        indices: Sequence[int],
        at_least: int | None = None,
        workers: int = 4,
        shrink: Shrink = whole,
    ) -> list[np.ndarray | BadImage]:
        """Render the faces `indices` at once."""
        rendered = self.render_batch(indices).permute(0, 2, 3, 1).contiguous().numpy()
        return [shrink(pixels) for pixels in rendered]

    def factors(self, indices: Indices) -> dict[str, Tensor]:
        """Factors of faces, float32 [N] each; IndexError for an index beyond the set."""
        return self.records.drawn(indices).factors

    def render_batch(self, indices: Indices, device: torch.device | str = "cpu") -> Tensor:
        """Render faces at once: uint8 [N, 3, size, size], the pixels of `read`.

        Raises:
            IndexError: an index beyond the set.
        """
        factors = self.factors(indices)
        return render_faces({name: value.to(device) for name, value in factors.items()}, self.size)

    def counterparts(self, indices: Indices, kinds: Iterable[str]) -> dict[str, Tensor]:
        """Counterparts of faces, by kind: uint8 [N, 3, size, size] each.

        Raises:
            IndexError: an index beyond the set.
            InputError: a kind not in `COUNTERPARTS`.
        """
        factors = self.factors(indices)
        return {kind: render_faces(counterpart(factors, kind), self.size) for kind in kinds}

    def __getitem__(self, index: int) -> FaceSample:
        sample = super().__getitem__(index)
        if self.counterpart_kinds:
            rendered = self.counterparts([index], self.counterpart_kinds)
            sample["counterparts"] = {kind: images[0] for kind, images in rendered.items()}
        return sample

    def _set_up(
        self,
        each: str,
        count: int,
        people: int,
        part: Part,
        size: int,
        seed: int,
        nuisances: Nuisances,
        counterparts: Sequence[str],
    ) -> tuple[range | np.ndarray, frozenset[str], list[str]]:
        """Check the arguments of a set of `count` faces or clips (`each`) and keep them.

        Returns the numbers of the part's faces or clips in the whole set, the names of the test
        people, and the sorted names of the part's people.
        """
        check_nuisances(nuisances)
        for kind in counterparts:
            counterpart({}, kind)  # refuses unknown kinds
        plural = "clips" if each == "clip" else "count"
        if people > count:
            raise InputError(
                f"rendered: people={people} is more than {plural}={count}; "
                f"each person needs at least one {each}"
            )
        if part not in get_args(Part):
            raise InputError(f"rendered: part must be train, test or all, not {part!r}")
        self.size, self.seed, self.nuisances = size, seed, nuisances
        self.counterpart_kinds = tuple(counterparts)
        names = [person_name(seed, person) for person in range(people)]
        tested = np.array([in_test_share(name) for name in names])
        shown = np.ones(people, bool) if part == "all" else tested == (part == "test")
        if not shown.any():
            raise InputError(
                f"rendered: none of the people={people} falls in part '{part}'; ask for more people"
            )
        numbers: range | np.ndarray = range(count)
        if part != "all":
            every = np.arange(count, dtype=np.int32)
            numbers = every[shown[every % people]]
        self._test_people = tested.nonzero()[0].tolist()
        held_out = frozenset(names[person] for person in self._test_people)
        return numbers, held_out, sorted(names[person] for person in shown.nonzero()[0])


class RenderedFaces(RenderedSet):
    """Rendered faces as a face set, with all labels that a renderer knows.

    Labels: `person`, `expression`, its `intensity` (0 to 1), `units` (float32 [15], the action
    units in the order of `ACTION_UNITS`), `valence`, `arousal`, `pose`, `landmarks` ([68, 2]
    pixels), `landmarks_3d` ([68, 3], the head's frame), `visible` (bool [68]), `age` in years, the
    groups of `GROUPS`, `light` (float32 [3]: azimuth and elevation in degrees, ambient share) and
    `scale` (pixels of half a head's height).

    People are split by name (`in_test_share`); the test people are the `held_out_people`. A
    picture depends only on (seed, person, number of the picture), so it is the same in every part
    and in sets with other `count` or `people`. Images and records are made on demand: memory does
    not grow with the set.

    Args:
        count: pictures in the part `all`.
        people: people in the part `all`; picture i there shows person `i % people`.
        part: `train`, `test` or `all`.
        size: side of the images in pixels, 8 to 1024.
        seed: another seed gives other people (with other names) and pictures.
        nuisances: variation of light, place, camera and occluders; see `Nuisances`.
        counterparts: kinds of `COUNTERPARTS` that each sample carries, as `counterparts`.

    Raises:
        InputError: an argument out of range, or a part without people.
    """

    title = "rendered faces"
    split = "by person"
    pose_truth = "exact pose"

    def __init__(
        self,
        count: Count = 4096,
        people: Count = 256,
        part: Part = "train",
        size: ImageSide = 64,
        seed: Seed = 0,
        nuisances: Nuisances = "mild",
        counterparts: Sequence[str] = (),
    ) -> None:
        check_ranges(RenderedFaces.__init__, locals(), "rendered")
        self._count = count
        shared = (people, part, size, seed, nuisances, counterparts)
        numbers, held_out, names = self._set_up("picture", count, *shared)
        super().__init__(
            "rendered",
            part,
            RenderedRecords(numbers, people, seed, size, nuisances),
            held_out_people=held_out,
            test=partial(RenderedFaces, count, people, "test", size, seed, nuisances),
            people=names,
        )

    @cached_property
    def pairs(self) -> list[FacePair]:
        """As many pairs of one person as of two people, of the test people, by key, in `FOLDS`
        folds without common people; the same in every part. Empty if fewer than `2 * FOLDS` test
        people have two pictures."""
        names = {person: person_name(self.seed, person) for person in self._test_people}
        return _pairs(self.seed, self._test_people, names, self._count, self.records.people)


def _pairs(
    seed: int, test_people: list[int], names: dict[int, str], count: int, people: int
) -> list[FacePair]:
    pictures = {p: count // people + (p < count % people) for p in test_people}
    eligible = [p for p in test_people if pictures[p] > 1]
    if len(eligible) < 2 * FOLDS:
        return []

    def draw(name: str, first: int, second: np.ndarray) -> np.ndarray:
        return uniform(seed, zlib.crc32(name.encode()), np.array(first), second)

    eligible = [eligible[i] for i in draw("folds", 0, np.array(eligible)).argsort()]
    pairs = []
    for fold in range(FOLDS):
        members = eligible[fold::FOLDS]
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
