"""Stored faces: the images of several packs as one run of numbers, read by number."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssl_faces.data.faces import NEUTRAL_KEY
from ssl_faces.data.store.packs import Pack


def has_identity_labels(about: Mapping[str, Any]) -> bool:
    """Whether the people of a stored face set are known by labels of real people's identity."""
    # Older packs don't say what their people are known by.
    return bool(about.get("identity_labels", about["people"]))


def knows_people(about: Mapping[str, Any], people: bool, identity_labels: bool) -> bool:
    """Whether the people of a stored face set are known, see `StoredFaces`."""
    return people and about["people"] and (identity_labels or not has_identity_labels(about))


class Faces(Protocol):
    """What pairs are drawn from: images with numbers, in shards.

    Attributes:
        counts: int64 [shards], how many images of each shard are trained on.
        size: their side.
    """

    counts: np.ndarray
    size: int

    def listed(self, shards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the images of these shards that are trained on, and for each a number that
        images of one person share, or -1; int64 both."""

    def ahead(self, shards: np.ndarray) -> None:
        """Begin to fetch shards that will be read next."""

    def leave(self, shards: np.ndarray) -> None:
        """Close shards that won't be read soon, so that a cache that lets them go gets its room."""

    def read(self, numbers: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        """Read these images to the rows `places` of `out`, uint8 [rows, 3 S S]."""


class StoredFaces:
    """The images of packs, read from their shards.

    Args:
        packs: of one size.
        kept: bool [n] of each pack, which of its images are trained on; None: all that the packs
            did not drop.
        people: whether people are known; False: every image is nobody's.
        identity_labels: False: people known by labels of real people's identity are nobody.

    Attributes:
        starts: int64 [shards + 1], the number of each shard's first image.
        kept: bool [N], which images are trained on.
        people: int64 [N], `number_of` the person's name, or -1.
        set_names: the face sets of all packs.
        sets: int32 [N], index into them.
        memory: all images, uint8 [N, 3, S, S], once `load` was called.
    """

    def __init__(
        self,
        packs: Sequence[Pack],
        kept: Sequence[np.ndarray] | None = None,
        people: bool = True,
        identity_labels: bool = True,
    ) -> None:
        self.packs = packs
        self.size = packs[0].size
        self.shards = [(k, i) for k, p in enumerate(packs) for i in range(len(p.index.shards))]
        entries = [packs[k].index.shards[i] for k, i in self.shards]
        self.starts = np.cumsum([0, *(entry.pictures for entry in entries)])
        self.kept = np.concatenate(kept or [~pack.index.images.dropped for pack in packs])
        firsts = np.cumsum([0, *(len(pack.index.sets) for pack in packs)]).astype(np.int32)
        self.set_names = [str(about["name"]) for pack in packs for about in pack.index.sets]
        self.sets = np.concatenate(
            [pack.index.images.sets + first for pack, first in zip(packs, firsts, strict=False)]
        )
        known = np.concatenate([pack.index.images.people for pack in packs])
        knows = [knows_people(a, people, identity_labels) for p in packs for a in p.index.sets]
        self.people = np.where(np.array(knows, bool)[self.sets], known, -1)
        spans = zip(self.starts[:-1], self.starts[1:], strict=True)
        self.counts = np.array([self.kept[a:b].sum() for a, b in spans], np.int64)
        self.memory: Tensor | None = None
        self._open: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    @property
    def nbytes(self) -> int:
        """Of all images."""
        return int(self.starts[-1]) * 3 * self.size * self.size

    def by_set(self, weights: np.ndarray) -> dict[str, float]:
        """The sum of weights [N] by face set, without sets whose sum is 0."""
        sums = np.bincount(self.sets, weights, len(self.set_names)).tolist()
        return {name: sum_ for name, sum_ in zip(self.set_names, sums, strict=True) if sum_}

    def rows(self, shard: int) -> np.ndarray:
        """int32: the rows of a shard that are trained on."""
        chosen = self.kept[self.starts[shard] : self.starts[shard + 1]]
        return np.flatnonzero(chosen).astype(np.int32)

    def identity(self) -> str:
        """A hash of the images that are trained on, in their order, and of who is on them: the
        same wherever their files lie and whatever their times are."""
        digest = hashlib.sha256()
        for number, (pack, index) in enumerate(self.shards):
            digest.update(self.packs[pack].index.shards[index].content.encode())
            digest.update(self.rows(number).tobytes())
        return digest.hexdigest()[:16]

    def listed(self, shards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = [self.starts[shard] + self.rows(shard) for shard in shards.tolist()]
        numbers = np.concatenate([np.zeros(0, np.int64), *parts])
        return numbers, self.people[numbers]

    def neutral_faces(self) -> np.ndarray:
        """For each number that of the neutral frontal face beside it, or -1: int64 [N].

        It is the image of the same set whose key is that of the image up to its last `/`, with
        `NEUTRAL_KEY`.
        """
        keys = [key for pack in self.packs for key in pack.index.images.key_list()]
        parents = [key.rpartition("/")[0] for key in keys]
        folders = list(zip(self.sets.tolist(), parents, strict=True))
        kept = np.flatnonzero(self.kept).tolist()
        faces = {folders[i]: i for i in kept if keys[i].endswith(NEUTRAL_KEY)}
        return np.array([faces.get(folder, -1) for folder in folders], np.int64)

    def ahead(self, shards: np.ndarray) -> None:
        for shard in shards.tolist():
            pack, index = self.shards[shard]
            self.packs[pack].ahead([index])

    def leave(self, shards: np.ndarray) -> None:
        for shard in shards.tolist():
            self._open.pop(shard, None)

    def open(self, shard: int) -> np.ndarray:
        """The images of a shard, mapped: uint8 [n, 3, S, S]."""
        pack, index = self.shards[shard]
        return self.packs[pack].open(index)

    def read(self, numbers: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        if self.memory is not None:
            images = self.memory.numpy().reshape(len(self.memory), -1)
            out[places] = images.take(numbers, axis=0)  # ten times as fast as torch's
            return
        shards = np.searchsorted(self.starts, numbers, side="right") - 1
        rows = numbers - self.starts[shards]
        for shard, row, place in zip(shards.tolist(), rows.tolist(), places.tolist(), strict=True):
            if shard not in self._open:
                images = self.open(shard)
                self._open[shard] = images.reshape(len(images), -1)
            out[place] = self._open[shard][row]

    def load(self, device: torch.device | str = "cpu") -> Tensor:
        """Read all images to the memory of a device: uint8 [N, 3, S, S], by number.

        On the CPU `read` takes them from there.
        """
        shape = (int(self.starts[-1]), 3, self.size, self.size)
        memory = torch.empty(shape, dtype=torch.uint8, device=device)
        numbers = range(len(self.shards))
        for number in tqdm(numbers, desc="loading faces", unit="shards", disable=len(numbers) < 50):
            images = torch.from_numpy(self.open(number).copy())
            memory[self.starts[number] : self.starts[number + 1]] = images
        if memory.device.type == "cpu":
            self.memory = memory
        return memory
