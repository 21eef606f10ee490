"""Records of a rendered set and their labels, computed on demand."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, overload

import numpy as np
from torch import Tensor

from ssl_faces.data.faces import EXPRESSIONS, FaceRecord
from ssl_faces.rendered.labels import labels_of
from ssl_faces.rendered.sampling import Drawn, Nuisances, sample_factors, uniform
from ssl_faces.rendered.threads import each

RECIPE = "rendered-3"  # part of every content hash: raise it when the pixels of a face change
_RECORDS_AT_ONCE, _LABELS_AT_ONCE = 64, 256


class _Labels(Mapping[str, Any]):
    """The labels of one face, computed when a value is read. They take a hundred times as long as
    the key, and sets are listed far more often than their labels are read."""

    def __init__(self, records: RenderedRecords, place: int) -> None:
        self._records, self._place = records, place

    def __getitem__(self, name: str) -> Any:
        block, row = divmod(self._place, _LABELS_AT_ONCE)
        return _labels(self._records, block)[row][name]

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
        block, row = divmod(place, _RECORDS_AT_ONCE)
        return _records(self, block)[row]

    @cached_property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels; every face has all of them."""
        return tuple(_labels(self, 0)[0])

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


@lru_cache(maxsize=256)
def _records(records: RenderedRecords, block: int) -> list[FaceRecord]:
    return records._records_at(_block(records, block, _RECORDS_AT_ONCE))


@lru_cache(maxsize=4)
def _labels(records: RenderedRecords, block: int) -> list[dict[str, Any]]:
    return each(records._labels_at, [_block(records, block, _LABELS_AT_ONCE)], 1)[0]


def _block(records: RenderedRecords, block: int, size: int) -> np.ndarray:
    return np.arange(block * size, min(len(records), (block + 1) * size))


def person_name(seed: int, person: int) -> str:
    """The name of a person of a seed."""
    return f"rendered_{person:05d}" if seed == 0 else f"rendered{seed}_{person:05d}"
