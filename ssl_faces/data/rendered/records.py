"""The listing of a rendered set: records made when they are asked for, not kept."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import overload

import numpy as np
from torch import Tensor

from ssl_faces.data.faces import EXPRESSIONS, FaceRecord
from ssl_faces.data.rendered.labels import labels_of
from ssl_faces.data.rendered.sampling import Drawn, Nuisances, sample_factors, uniform

RECIPE = "rendered-2"  # part of every content hash: raise it when the pixels of a face change
_BLOCK = 256  # records made at once
_KEPT = 4  # blocks kept


class RenderedRecords(Sequence[FaceRecord]):
    """Records of rendered faces; picture number i of the whole set shows person `i % people`.

    Args:
        numbers: of the faces that are listed, in the whole set.
        people: how many in the whole set.
        seed, size, nuisances: as in `RenderedFaces`.
    """

    def __init__(
        self,
        numbers: range | np.ndarray,
        people: int,
        seed: int,
        size: int,
        nuisances: Nuisances,
    ) -> None:
        self.numbers, self.people = numbers, people
        self.seed, self.size, self.nuisances = seed, size, nuisances
        self._blocks: OrderedDict[int, list[FaceRecord]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> FaceRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[FaceRecord]: ...
    def __getitem__(self, index: int | slice) -> FaceRecord | list[FaceRecord]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = int(index) + len(self) * (index < 0)
        if not 0 <= place < len(self):
            raise IndexError(index)
        block = place // _BLOCK
        if block not in self._blocks:
            self._blocks[block] = self._make(block)
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[block][place % _BLOCK]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_blocks": OrderedDict()}

    def name(self, person: int) -> str:
        return f"rendered_{person:05d}" if self.seed == 0 else f"rendered{self.seed}_{person:05d}"

    def cast(
        self, indices: Sequence[int] | np.ndarray | Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Person, number of the person's picture, and expression of the faces `indices`: int64.

        Raises:
            IndexError: an index is not below the set's length.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(chosen) and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise IndexError(f"index out of range for {len(self)} faces")
        chosen = np.where(chosen < 0, chosen + len(self), chosen)
        if isinstance(self.numbers, range):
            numbers = chosen * self.numbers.step + self.numbers.start
        else:
            numbers = self.numbers[chosen].astype(np.int64)
        person, picture = numbers % self.people, numbers // self.people
        # Each person goes through the expressions in turn, from a place of their own.
        first = uniform(self.seed, zlib.crc32(b"expression"), person, 0 * person)
        expression = (picture + (first * len(EXPRESSIONS)).astype(np.int64)) % len(EXPRESSIONS)
        return person, picture, expression

    def drawn(self, indices: Sequence[int] | np.ndarray | Tensor) -> Drawn:
        """The faces `indices`; raises IndexError as `cast` does."""
        return sample_factors(self.seed, *self.cast(indices), nuisances=self.nuisances)

    def _make(self, block: int) -> list[FaceRecord]:
        places = np.arange(block * _BLOCK, min(len(self), (block + 1) * _BLOCK))
        person, picture, expression = self.cast(places)
        drawn = sample_factors(self.seed, person, picture, expression, self.nuisances)
        made = []
        for who, which, labels in zip(
            person.tolist(), picture.tolist(), labels_of(drawn, expression, self.size), strict=True
        ):
            key = f"{self.name(who)}/{which:04d}"
            recipe = f"{RECIPE} {key} {self.seed} {self.size} {self.nuisances}".encode()
            made.append(FaceRecord(key, recipe, self.name(who), labels))
        return made
