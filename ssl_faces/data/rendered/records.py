"""The listing of a rendered set: records made when they are asked for, not kept."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from torch import Tensor

from ssl_faces.data.faces import EXPRESSIONS, FaceRecord
from ssl_faces.data.rendered.labels import labels_of
from ssl_faces.data.rendered.sampling import Drawn, Nuisances, sample_factors, uniform
from ssl_faces.data.rendered.threads import each

RECIPE = "rendered-3"  # part of every content hash: raise it when the pixels of a face change
_BLOCK = 256  # records made at once
_KEPT = 4  # blocks kept


class RenderedRecords(Sequence[FaceRecord]):
    """Records of rendered faces; picture number i of the whole set shows person `i % people`.

    Args:
        numbers: of the faces that are listed, in the whole set; a range is all from 0.
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
            places = np.arange(block * _BLOCK, min(len(self), (block + 1) * _BLOCK))
            self._blocks[block] = each(self._records_at, [places], 1)[0]
            while len(self._blocks) > _KEPT:
                self._blocks.popitem(last=False)
        return self._blocks[block][place % _BLOCK]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_blocks": OrderedDict()}

    def cast(
        self, indices: Sequence[int] | np.ndarray | Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Person, number of the person's picture, and expression of the faces `indices`: int64.

        Raises:
            IndexError: an index is not below the set's length.
        """
        chosen = self._places(indices)
        person, picture = self._whose(chosen)
        # Each person goes through the expressions in turn, from a place of their own.
        first = uniform(self.seed, zlib.crc32(b"expression"), person, 0 * person)
        expression = (picture + (first * len(EXPRESSIONS)).astype(np.int64)) % len(EXPRESSIONS)
        return person, picture, expression

    def _whose(self, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Person and number among the person's, of what is listed at these places."""
        numbers = listed if isinstance(self.numbers, range) else self.numbers[listed]
        numbers = numbers.astype(np.int64)
        return numbers % self.people, numbers // self.people

    def _places(self, indices: Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(chosen) and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise IndexError(f"index out of range for {len(self)} faces")
        return np.where(chosen < 0, chosen + len(self), chosen)

    def drawn(self, indices: Sequence[int] | np.ndarray | Tensor) -> Drawn:
        """The faces `indices`; raises IndexError as `cast` does."""
        return sample_factors(self.seed, *self.cast(indices), nuisances=self.nuisances)

    def _records_at(self, places: np.ndarray) -> list[FaceRecord]:
        person, picture, expression = self.cast(places)
        keys = [f"{self._name(who)}/{i:04d}" for who, i in zip(person, picture, strict=True)]
        return self._records(keys, person, labels_of(self.drawn(places), expression, self.size))

    def _name(self, person: int) -> str:
        return person_name(self.seed, person)

    def _records(
        self, keys: list[str], person: np.ndarray, labels: list[dict[str, Any]]
    ) -> list[FaceRecord]:
        made = []
        for key, who, known in zip(keys, person.tolist(), labels, strict=True):
            recipe = f"{RECIPE} {key} {self.seed} {self.size} {self.nuisances}".encode()
            made.append(FaceRecord(key, recipe, self._name(who), known))
        return made


def person_name(seed: int, person: int) -> str:
    """What a person of a seed is called."""
    return f"rendered_{person:05d}" if seed == 0 else f"rendered{seed}_{person:05d}"
