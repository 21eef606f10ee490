"""Labelled images in memory, images of people, and the order in which a head sees them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from tqdm import tqdm

from linear_probe.features.extraction import Decoded, decoded
from linear_probe.heads.goals import Categories
from linear_probe.tasks import MissingData
from linear_probe.tasks.labelled import Split
from linear_probe.tasks.splits import stratified_group_split
from ssl_faces import InputError
from ssl_faces.data import FaceSet

PEOPLE = "people"
LEAST = 2
"""Images of a person, one to train on and one to validate on."""
KEPT = 0.1


class People:
    """The people of the training parts of face sets, each a class: face networks learn them before
    attributes and expressions (Savchenko 2021: VGGFace2). Test people are left out.

    Args:
        face_sets: the sets.
        max_train: number of images at most, people with most images first; None is all.

    Attributes:
        title: a description.

    Raises:
        MissingData: fewer than two people with `LEAST` images.
    """

    def __init__(self, face_sets: Sequence[FaceSet], max_train: int | None = None) -> None:
        # Each set names its people by its own rule: "7" is another person in another set.
        whose: dict[tuple[int, str], list[int]] = defaultdict(list)
        self._sets = face_sets
        held_out = frozenset().union(*(faces.held_out_people for faces in face_sets))
        for number, faces in enumerate(face_sets):
            for i, record in enumerate(faces.records):
                if record.person is not None and record.person not in held_out:
                    whose[number, record.person].append(i)
        enough = [(who, rows) for who, rows in whose.items() if len(rows) >= LEAST]
        left = sum(len(rows) for _, rows in enough) if max_train is None else max_train
        self._rows: list[tuple[int, int, int]] = []  # set, record, class
        self.count = 0
        for (of, _), rows in sorted(enough, key=lambda item: (-len(item[1]), item[0])):
            if len(rows) > left:
                break
            left -= len(rows)
            self._rows += [(of, row, self.count) for row in rows]
            self.count += 1
        if self.count < 2:
            raise MissingData(
                f"people: {self.count} with {LEAST} pictures or more in the training parts; add a "
                "set of people such as LFW or YouTube keypoints to the data folder"
            )
        names = ", ".join(sorted({self._sets[of].title for of, *_ in self._rows}))
        self.title = f"{self.count:,} people of {names}, {len(self._rows):,} pictures"

    def goal(self) -> Categories:
        return Categories(self.count)

    def pictures(
        self, decode: Callable[[FaceSet, np.ndarray], Decoded], seed: int
    ) -> LabelledSplit:
        """All images that can be decoded; some of each person with ten or more are validated on."""
        images: list[Tensor] = []
        labels: list[int] = []
        for of in sorted({row[0] for row in self._rows}):
            class_of = {record: number for s, record, number in self._rows if s == of}
            decoded = decode(self._sets[of], np.array(sorted(class_of)))
            images.append(decoded.images)
            labels += [class_of[record] for record in decoded.records.tolist()]
        numbers = np.array(labels)
        groups = np.arange(len(numbers)).astype(str)
        chosen = torch.from_numpy(stratified_group_split(numbers, groups, KEPT, seed))
        rows = torch.arange(len(numbers))
        return LabelledSplit(
            torch.cat(images), torch.from_numpy(numbers), rows[~chosen], rows[chosen]
        )

    @staticmethod
    def validation(outputs: Tensor, labels: Tensor) -> dict[str, float]:
        return {"accuracy": 100 * float((outputs.argmax(1) == labels).double().mean())}


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
