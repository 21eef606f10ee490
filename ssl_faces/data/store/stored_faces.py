"""Stored faces: the pictures of several packs as one run of numbers, read by number."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import NEUTRAL_KEY
from ssl_faces.data.store.packs import Pack
from ssl_faces.data.store.shards import MEND, Shard

_OPEN = 256  # shards open at once in a process, well below what a system allows


class Faces(Protocol):
    """What pairs are drawn from: pictures with numbers, in shards.

    Attributes:
        counts: int64 [shards], how many pictures of each shard are trained on.
        size: their side.
    """

    counts: np.ndarray
    size: int

    def listed(self, shards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the pictures of these shards that are trained on, and for each a number that
        pictures of one person share, or -1; int64 both."""

    def ahead(self, shards: np.ndarray) -> None:
        """Begin to fetch shards that will be read next."""

    def leave(self, shards: np.ndarray) -> None:
        """Close shards that won't be read soon, so that a cache that lets them go gets its room."""

    def read(self, numbers: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        """Read these pictures to the rows `places` of `out`, uint8 [rows, 3 S S]."""


class StoredFaces:
    """The pictures of packs, read from their shards.

    Args:
        packs: of one size.
        kept: for each pack the rows of each of its shards that are trained on, int32; None, for
            one or for all packs: all rows that the pack itself keeps.
        people: whether to tell people; False: every picture is nobody's.

    Attributes:
        starts: int64 [shards + 1], the number of each shard's first picture.
        memory: all pictures, uint8 [N, 3, S, S], once `load` was called.
    """

    def __init__(
        self,
        packs: Sequence[Pack],
        kept: Sequence[Sequence[np.ndarray] | None] | None = None,
        people: bool = True,
    ) -> None:
        self.packs = packs
        self.size = packs[0].size
        self.people = people
        self.shards = [
            (k, i) for k, pack in enumerate(packs) for i in range(len(pack.index.shards))
        ]
        entries = [packs[k].index.shards[i] for k, i in self.shards]
        self.starts = np.cumsum([0, *(entry.pictures for entry in entries)])
        self._kept = kept or [None] * len(packs)
        self.counts = np.array([self._count(k, i) for k, i in self.shards], np.int64)
        self.memory: Tensor | None = None
        self._open: OrderedDict[int, Shard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    @property
    def nbytes(self) -> int:
        """Of all pictures."""
        return int(self.starts[-1]) * 3 * self.size * self.size

    def identity(self) -> str:
        """A hash of the images that are trained on, in their order, and of who is on them: the
        same wherever their files lie and whatever their times are."""
        digest = hashlib.sha256()
        for number, (pack, index) in enumerate(self.shards):
            entry = self.packs[pack].index.shards[index]
            digest.update((entry.content or entry.sha256).encode())
            digest.update(np.asarray(self.rows(number), np.int32).tobytes())
        return digest.hexdigest()[:16]

    def shard(self, number: int) -> Shard:
        """A shard, open; the ones not used for longest are closed."""
        opened = self._open.get(number)
        if opened is None:
            pack, index = self.shards[number]
            opened = self._open[number] = self.packs[pack].open(index)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)[1].close()
        else:
            self._open.move_to_end(number)
        return opened

    def rows(self, number: int) -> np.ndarray:
        """The rows of a shard that are trained on."""
        pack, index = self.shards[number]
        kept = self._kept[pack]
        return self.packs[pack].kept(index) if kept is None else kept[index]

    def _count(self, pack: int, index: int) -> int:
        kept = self._kept[pack]
        if kept is not None:
            return len(kept[index])
        entry = self.packs[pack].index.shards[index]
        return entry.pictures - len(entry.dropped)

    def listed(self, shards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.empty(int(self.counts[shards].sum()), np.int64)
        people = np.full(len(numbers), -1, np.int64)
        begin = 0
        for shard in shards.tolist():
            rows = self.rows(shard)
            here = slice(begin, begin + len(rows))
            numbers[here] = self.starts[shard] + rows
            if self.people:
                people[here] = self.shard(shard).column("people")[rows]
            begin += len(rows)
        return numbers, people

    def neutral_faces(self) -> np.ndarray:
        """For each number that of the neutral frontal face beside it, or -1: int64 [N].

        It is the image of the same set whose key is that of the image up to its last `/`, with
        `NEUTRAL_KEY`. All keys are read.
        """
        faces: dict[tuple[int, int, str], int] = {}
        folders: list[tuple[int, int, str]] = []
        for number, (k, _) in enumerate(self.shards):
            shard, rows = self.shard(number), set(self.rows(number).tolist())
            sets = shard.column("sets").tolist()
            for row, key in enumerate(shard.keys()):
                folder = (k, sets[row], key.rpartition("/")[0])
                if row in rows and key.endswith(NEUTRAL_KEY):
                    faces[folder] = len(folders)
                folders.append(folder)
        return np.array([faces.get(folder, -1) for folder in folders], np.int64)

    def ahead(self, shards: np.ndarray) -> None:
        for shard in shards.tolist():
            pack, index = self.shards[shard]
            remote = self.packs[pack].remote
            if remote is not None:
                remote.ahead([self.packs[pack].index.shards[index]])

    def leave(self, shards: np.ndarray) -> None:
        for shard in shards.tolist():
            opened = self._open.pop(shard, None)
            if opened is not None:
                opened.close()

    def read(self, numbers: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        if self.memory is not None:
            pictures = self.memory.numpy().reshape(len(self.memory), -1)
            out[places] = pictures.take(numbers, axis=0)  # ten times as fast as torch's
            return
        length = 3 * self.size * self.size
        shards = np.searchsorted(self.starts, numbers, side="right") - 1
        offsets = (numbers - self.starts[shards]) * length
        for shard, offset, place in zip(
            shards.tolist(), offsets.tolist(), places.tolist(), strict=True
        ):
            opened = self.shard(shard)
            if os.preadv(opened.handle, [out[place]], opened.start + offset) != length:
                raise InputError(f"{opened.path}: a broken shard (it is cut short); {MEND}")

    def load(self, device: torch.device | str = "cpu") -> Tensor:
        """Read all pictures to the memory of a device: uint8 [N, 3, S, S], by number.

        On the CPU `read` takes them from there.
        """
        memory = torch.empty(
            (int(self.starts[-1]), 3, self.size, self.size), dtype=torch.uint8, device=device
        )
        numbers = range(len(self.shards))
        for number in tqdm(numbers, desc="loading faces", unit="shards", disable=len(numbers) < 50):
            pack, index = self.shards[number]
            with self.packs[pack].open(index) as shard:
                memory[self.starts[number] : self.starts[number + 1]] = torch.from_numpy(
                    shard.images()
                )
        if memory.device.type == "cpu":
            self.memory = memory
        return memory
