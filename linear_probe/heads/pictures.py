"""Labelled images in memory, and the order in which a head sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from linear_probe.features.extraction import Decoded, decoded
from linear_probe.tasks.labelled import Split
from ssl_faces import InputError
from ssl_faces.data import FaceSet

_AT_ONCE = 512


def decode(faces: FaceSet, indices: np.ndarray, size: int) -> Decoded:
    """The images of these records at side `size`; InputError if none of them can be decoded."""
    parts = []
    few = len(indices) <= _AT_ONCE
    with tqdm(
        total=len(indices), desc=f"pictures of {faces.name}", unit="faces", disable=few
    ) as bar:
        for start in range(0, max(1, len(indices)), _AT_ONCE):
            places = indices[start : start + _AT_ONCE].tolist()
            parts.append(decoded(faces, places, size))
            bar.update(len(places))
    records = np.concatenate([part.records for part in parts])
    if not len(records):
        raise InputError(f"{faces.name}: no picture can be decoded; check that they are whole")
    skipped = [item for part in parts for item in part.skipped]
    return Decoded(torch.cat([part.images for part in parts]), records, skipped)


def decode_all(faces: FaceSet, indices: np.ndarray, size: int) -> Tensor:
    """The images of these records, float [N, 3, `size`, `size`] in [0, 1]; InputError if one of
    them can't be decoded."""
    images = decode(faces, indices, size)
    for bad in images.skipped:
        raise InputError(f"{bad.key}: {bad.reason}; replace the image")
    return images.images.float() / 255


@dataclass(frozen=True)
class LabelledSplit:
    """Images uint8 [N, 3, R, R] and labels [N] or [N, outputs] to train and validate a head on, and
    the rows int64 of either part."""

    images: Tensor
    labels: Tensor
    train: Tensor
    validation: Tensor

    @classmethod
    def of(cls, images: Tensor, labels: Tensor, rows: Split) -> LabelledSplit:
        """With the rows of a task's split."""
        train = torch.from_numpy(rows.train[~rows.validation])
        return cls(images, labels, train, torch.from_numpy(rows.train[rows.validation]))


class LabelledPictures(Dataset[tuple[Tensor, Tensor]]):
    """Whole batches by their rows, without collating single images."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.images[rows], self.labels[rows]


class EpochBatches(Sampler[list[int]]):
    """Rows of each batch of an epoch, by the seed and the epoch's number alone; the last rows that
    don't fill a batch are left out of this epoch.

    Args:
        count: rows.
        batch_size: of all processes together.
        rank, world: this process and their number; each has an equal part of every batch.
    """

    def __init__(
        self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.rank, self.world = rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        draw = torch.Generator().manual_seed(self.seed + 1_000_003 * (self.epoch + 1))
        order = torch.randperm(self.count, generator=draw)[: len(self) * self.batch_size]
        for batch in order.view(len(self), self.batch_size):
            yield batch[self.rank :: self.world].tolist()
