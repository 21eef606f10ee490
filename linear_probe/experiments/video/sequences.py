"""Labelled sequences of frames, their splits, and the statistics of their frames' features.

Source of the statistics: Savchenko, "Facial expression and attributes recognition based on
multi-task learning of lightweight neural networks", SISY 2021: mean, standard deviation, minimum
and maximum, concatenated and L2-normalised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from linear_probe.tasks.sample import Sample
from linear_probe.tasks.splits import stratified_group_split
from ssl_faces import InputError
from ssl_faces.data import FaceSet, Skipped

_OF_FRAMES: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": partial(torch.mean, dim=0),
    # Of all frames that there are, as numpy's: a single frame has 0.
    "std": partial(torch.std, dim=0, correction=0),
    "min": partial(torch.amin, dim=0),
    "max": partial(torch.amax, dim=0),
}


STATISTICS = tuple(_OF_FRAMES)


def sequence_statistics(
    features: Tensor, sequences: Sequence[np.ndarray], statistics: Sequence[str] = STATISTICS
) -> Tensor:
    """The statistics of each sequence, one after another, as a vector of length 1: float [N, D *
    len(statistics)].

    The whole vector is L2-normalised, not each statistic, as in the author's code: what one
    statistic is beside another stays. Where all is 0 it stays 0.

    Args:
        features: float [frames, D].
        sequences: N times int [F], the rows of a sequence's frames, in any order.
    """
    vectors = features.new_zeros(len(sequences), features.shape[1] * len(statistics))
    for number, rows in enumerate(sequences):
        frames = features[torch.from_numpy(rows)]
        vectors[number] = torch.cat([_OF_FRAMES[name](frames) for name in statistics])
    return F.normalize(vectors, dim=1)


def check_statistics(names: Sequence[str]) -> None:
    """Raise InputError if there is none, an unknown one, or one twice."""
    if not names or len({*names}) < len(names) or not {*names} <= {*STATISTICS}:
        shown, there = ", ".join(names) or "none", ", ".join(STATISTICS)
        raise InputError(f"statistics: {shown}; give some of {there}, each once")


VALIDATION_SHARE = 0.2

NO_FACE = "a video with no face"


@dataclass(frozen=True, eq=False)
class Sequences:
    """N sequences of frames of one face set, each with a class.

    Attributes:
        name: of the task.
        split: as in `Record`.
        frames: N times int64 [F], records of `faces`, in their order.
        keys: N, how readers know each.
        labels: int64 [N], of `class_names`.
        folds: int64 [N]: each fold from 0 is the test part once; -1 is never tested.
        people: N; None where nobody is known.
        skipped: videos that are left out already.
    """

    name: str
    faces: FaceSet
    split: str
    frames: Sequence[np.ndarray]
    keys: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]
    folds: np.ndarray
    people: Sequence[str] | None = None
    skipped: Sequence[Skipped] = ()

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def names_people(self) -> bool:
        """Whether the classes are the people: each must then be on both sides of a split."""
        return self.people is not None and all(
            self.class_names[label] == person
            for label, person in zip(self.labels.tolist(), self.people, strict=True)
        )

    def spaced(self, most: int | None) -> Sequences:
        """With at most so many frames each, evenly spaced from first to last; None: all."""
        if most is None:
            return self
        kept = [
            rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(np.int64)]
            for rows in self.frames
        ]
        return dataclasses.replace(self, frames=kept)

    def readable(self, records: np.ndarray) -> Sequences:
        """With those frames alone that are among the `records` [M]; a sequence with none left is
        left out and listed in `skipped`, a class with no sequence left is no class any more."""
        frames = [rows[np.isin(rows, records)] for rows in self.frames]
        skipped = [
            Skipped(self.keys[i], f"{NO_FACE}: none of its {len(self.frames[i])} frames is left")
            for i, rows in enumerate(frames)
            if not len(rows)
        ]
        kept = [i for i, rows in enumerate(frames) if len(rows)]
        return dataclasses.replace(
            self,
            frames=[frames[i] for i in kept],
            keys=[self.keys[i] for i in kept],
            labels=self.labels[kept],
            folds=self.folds[kept],
            people=None if self.people is None else [self.people[i] for i in kept],
            skipped=[*self.skipped, *skipped],
        )

    def splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The training and test sequences, int64 [n] and [m], of each fold. Raises InputError: a
        part is empty, there is one class only, or one has no training sequence."""
        splits = []
        lost = f" ({NO_FACE}: {len(self.skipped):,} left out)" if self.skipped else ""
        for fold in np.unique(self.folds[self.folds >= 0]):
            test = np.flatnonzero(self.folds == fold)
            train = np.flatnonzero(self.folds != fold)
            lacking = np.setdiff1d(self.labels[test], self.labels[train])
            if len(train) and len(lacking):
                raise InputError(
                    f"{self.name}: no training sequence of '{self.class_names[lacking[0]]}' is "
                    f"left{lost}, and test sequences are of it; add some, or take the class out"
                )
            splits.append((train, test))
        if not splits or any(not len(train) for train, _ in splits):
            raise InputError(
                f"{self.name}: {self.faces.title} has no sequence left to "
                f"{'train' if splits else 'score'} on{lost}; give more videos"
            )
        for train, _ in splits:
            taught = np.unique(self.labels[train])
            if len(taught) < 2:
                raise InputError(
                    f"{self.name}: every training sequence{lost} is of "
                    f"'{self.class_names[taught[0]]}', and a classifier needs two classes at "
                    "least; add videos of others"
                )
        return splits

    def validation(self, train: np.ndarray, seed: int) -> np.ndarray:
        """Which of the sequences `train` [n] choose hyper-parameters: bool [n], drawn by the seed.

        A fifth of each class with no person on both sides; of people as classes, one sequence of
        each who has two; InputError if there are too few.
        """
        labels = self.labels[train]
        if not self.names_people:
            groups = self.keys if self.people is None else self.people
            among = np.array([groups[i] for i in train])
            try:
                return stratified_group_split(labels, among, VALIDATION_SHARE, seed)
            except InputError as error:
                raise InputError(
                    f"{self.name}: {len(train)} training sequences of {len(np.unique(among))} "
                    "people or videos, too few to choose the L2 on a part of them; give more"
                ) from error
        # The last of each person in a random order, where there is one before it.
        order = np.random.default_rng(seed).permutation(len(train))
        last = {label: place for place, label in zip(order.tolist(), labels[order], strict=True)}
        several = [place for label, place in last.items() if (labels == label).sum() > 1]
        chosen = np.zeros(len(train), dtype=bool)
        chosen[several] = True
        if not chosen.any():
            raise InputError(
                f"{self.name}: no person has two training sequences, so that none is left to "
                "choose the L2 on; give people with three sequences at least"
            )
        return chosen

    def sample(self, test: np.ndarray, replicates: int) -> Sample:
        """The sequences `test` [m], drawn by person where known."""
        people = None if self.people is None else np.array([self.people[i] for i in test])
        return Sample([self.keys[i] for i in test], replicates, people)
