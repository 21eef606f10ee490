"""Records of a rendered set and their labels, computed on demand."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

import numpy as np
from torch import Tensor

from ssl_faces.data.faces import EXPRESSIONS, FaceRecord
from ssl_faces.rendered.labels import labels_of
from ssl_faces.rendered.sampling import Drawn, Nuisances, sample_factors, uniform
from ssl_faces.rendered.threads import each

RECIPE = "rendered-3"  # part of every content hash: raise it when the pixels of a face change
_Row = TypeVar("_Row")


class _Blocks(Generic[_Row]):
    """Rows computed by blocks of `size`; the last `kept` used blocks stay in memory."""

    def __init__(
        self, compute: Callable[[np.ndarray], list[_Row]], size: int, kept: int, length: int
    ) -> None:
        self.compute, self.size, self.kept, self.length = compute, size, kept, length
        self.blocks: OrderedDict[int, list[_Row]] = OrderedDict()

    def __getitem__(self, place: int) -> _Row:
        block, row = divmod(place, self.size)
        rows = self.blocks.get(block)
        if rows is None:
            places = np.arange(block * self.size, min(self.length, (block + 1) * self.size))
            rows = self.blocks[block] = each(self.compute, [places], 1)[0]
            while len(self.blocks) > self.kept:
                self.blocks.popitem(last=False)
        else:
            self.blocks.move_to_end(block)
        return rows[row]

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"blocks": OrderedDict()}


class _Labels(Mapping[str, Any]):
    """The labels of one face, computed when a value is read. They take a hundred times as long as
    the key, and sets are listed far more often than their labels are read."""

    def __init__(self, records: RenderedRecords, place: int) -> None:
        self._records, self._place = records, place

    def __getitem__(self, name: str) -> Any:
        return self._records.labels[self._place][name]

    def __contains__(self, name: object) -> bool:
        return name in self._records.label_names

    def __iter__(self) -> Iterator[str]:
        return iter(self._records.label_names)

    def __len__(self) -> int:
        return len(self._records.label_names)


class RenderedRecords(Sequence[FaceRecord]):
    """Records of rendered faces; picture number i of the whole set shows person `i % people`.

    Args:
        numbers: of the listed faces in the whole set; a range is all of them.
        people: number of people in the whole set.
        seed, size, nuisances: as in `RenderedFaces`.
    """

    def __init__(
        self, numbers: range | np.ndarray, people: int, seed: int, size: int, nuisances: Nuisances
    ) -> None:
        self.numbers, self.people = numbers, people
        self.seed, self.size, self.nuisances = seed, size, nuisances

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
        return self._heads[place]

    @cached_property
    def _heads(self) -> _Blocks[FaceRecord]:
        return _Blocks(self._records_at, 64, 256, len(self))

    @cached_property
    def labels(self) -> _Blocks[dict[str, Any]]:
        """The labels of each face, by its place."""
        return _Blocks(self._labels_at, 256, 4, len(self))

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels; every face has all of them."""
        return tuple(self.labels[0])

    def cast(
        self, indices: Sequence[int] | np.ndarray | Tensor
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Person, number of the person's picture, and expression of faces: int64; IndexError for
        an index beyond the set."""
        chosen = self._places(indices)
        person, picture = self._whose(chosen)
        # Each person shows the expressions in turn, starting at a random one.
        first = uniform(self.seed, zlib.crc32(b"expression"), person, 0 * person)
        expression = (picture + (first * len(EXPRESSIONS)).astype(np.int64)) % len(EXPRESSIONS)
        return person, picture, expression

    def _whose(self, listed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Person and number among the person's pictures at these places of the list."""
        numbers = listed if isinstance(self.numbers, range) else self.numbers[listed]
        numbers = numbers.astype(np.int64)
        return numbers % self.people, numbers // self.people

    def _places(self, indices: Sequence[int] | np.ndarray | Tensor) -> np.ndarray:
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if len(chosen) and not (-len(self) <= chosen.min() and chosen.max() < len(self)):
            raise IndexError(f"index out of range for {len(self)} faces")
        return np.where(chosen < 0, chosen + len(self), chosen)

    def drawn(self, indices: Sequence[int] | np.ndarray | Tensor) -> Drawn:
        """Sampled factors of faces; errors as in `cast`."""
        return sample_factors(self.seed, *self.cast(indices), nuisances=self.nuisances)

    def _records_at(self, places: np.ndarray) -> list[FaceRecord]:
        made = []
        for key, person, place in zip(*self._keys_at(places), places.tolist(), strict=True):
            recipe = f"{RECIPE} {key} {self.seed} {self.size} {self.nuisances}".encode()
            made.append(FaceRecord(key, recipe, person, _Labels(self, place)))
        return made

    def _keys_at(self, places: np.ndarray) -> tuple[list[str], list[str]]:
        """Key and person of the faces at these places."""
        person, picture, _ = self.cast(places)
        people = [person_name(self.seed, who) for who in person.tolist()]
        return [f"{who}/{i:04d}" for who, i in zip(people, picture.tolist(), strict=True)], people

    def _labels_at(self, places: np.ndarray) -> list[dict[str, Any]]:
        return labels_of(self.drawn(places), self.cast(places)[2], self.size)


def person_name(seed: int, person: int) -> str:
    """The name of a person of a seed."""
    return f"rendered_{person:05d}" if seed == 0 else f"rendered{seed}_{person:05d}"
