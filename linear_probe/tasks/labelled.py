"""The base of tasks that learn a label of single images: splits, copies, bootstrap draws."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from linear_probe.features.frozen import Features, Pictures
from linear_probe.tasks.sample import Sample
from linear_probe.tasks.task import Task, in_test_part
from ssl_faces import InputError
from ssl_faces.data.near_copies import SIMILAR, Described, find_near_copies


@dataclass(frozen=True)
class Split:
    """Rows of the features by what they are used for.

    Attributes:
        train, test: int [N] and [M], rows to fit on and to score on.
        validation: bool [N], which of `train` choose the L2; no person and no image is on both
            sides.
        copies, near_copies: training images left out because a test image is the same, byte for
            byte, or a near-copy.
    """

    train: np.ndarray
    test: np.ndarray
    validation: np.ndarray
    copies: int
    near_copies: int


class LabelTask(Task):
    """A task on the images of its face set that have its labels.

    The set's part `test` is scored, or, if it has folds, each fold by a probe fitted on the others.

    Attributes:
        is_test: bool [records], whether each is in the part `test`; all False with folds.
        folds: int [records], -1 for those that no fold has; None without folds.
    """

    validation_share: ClassVar[float]

    is_test: np.ndarray
    folds: np.ndarray | None

    def _split(self, labels: Sequence[str]) -> None:
        """Set `indices`, `is_test`, `folds` and `split` for records with all of these labels."""
        faces = self.faces
        known = np.array([all(n in record.labels for n in labels) for record in faces.records])
        self.indices = np.flatnonzero(known)
        self.folds = faces.folds
        self.split = faces.split
        if self.folds is not None:
            self.is_test = np.zeros(len(faces), dtype=bool)
            if len(np.unique(self.folds[known])) < 2:
                raise InputError(
                    f"{self.name}: {faces.title} has labelled pictures of one person only, which "
                    "leaves nobody to learn from; give more people"
                )
            return
        self.is_test = in_test_part(faces)
        tested = self.is_test[known]
        if not tested.any() or tested.all():
            raise InputError(
                f"{self.name}: {faces.title} has no {'training' if tested.all() else 'test'} "
                f"pictures ({faces.split}); give both of its parts, or more pictures"
            )

    def _draw(self, kinds: np.ndarray) -> None:
        """Apply `max_train`, so that each class of `kinds`, int [records], keeps a training
        image."""
        training = self.indices[~self.is_test[self.indices]]
        if self.folds is not None or self.max_train is None or self.max_train >= len(training):
            return
        order = np.random.default_rng(self.seed).permutation(training)
        drawn, rest = order[: self.max_train].copy(), order[self.max_train :]
        for kind in np.setdiff1d(kinds[rest], kinds[drawn]):
            # A class without a training image would score 0, whatever the features.
            counts = np.bincount(kinds[drawn])
            drawn[np.flatnonzero(kinds[drawn] == counts.argmax())[-1]] = rest[kinds[rest] == kind][
                0
            ]
        tested = self.indices[self.is_test[self.indices]]
        self.indices = np.sort(np.concatenate([drawn, tested]))
        self.split += f", {self.max_train:,} training pictures"

    @cached_property
    def near_copies(self) -> tuple[np.ndarray, np.ndarray]:
        """bool [records] each: training images that are near-copies of a test image, and test
        images that have such a near-copy. None with folds, which are of people."""
        train, test = np.zeros((2, len(self.faces)), bool)
        if self.folds is None and self.faces.near_copies:
            rows = np.flatnonzero(~self.is_test), np.flatnonzero(self.is_test)
            sides = [Described(self.faces, side) for side in rows]
            copies = find_near_copies(sides[0], sides[1])
            train[rows[0]], test[rows[1]] = copies.train, copies.test
        return train, test

    def note(self, splits: Sequence[Split]) -> str:
        """The note for figures of these splits: training images, and how many are left out."""
        if self.folds is None:
            note = f"trained on {len(splits[0].train):,} pictures"
        else:
            tested = sum(len(rows.test) for rows in splits)
            note = f"{tested:,} pictures in {len(splits)} folds"
        copies = sum(rows.copies for rows in splits)
        if copies:
            note += f"; {copies:,} training pictures left out as exact copies of test pictures"
        near = sum(rows.near_copies for rows in splits)
        if near:
            note += (
                f"; {near:,} training pictures left out as near-copies of test pictures (HOG "
                f"cosine of {SIMILAR} or more)"
            )
        return note

    def scored(self) -> np.ndarray:
        tested = self.is_test if self.folds is None else self.folds >= 0
        return self.indices[tested[self.indices]]

    def originals(self, records: np.ndarray) -> np.ndarray:
        """bool [M]: which of these test records have no near-copy in the training part."""
        return ~self.near_copies[1][records]

    def splits(self, features: Features, pictures: Pictures) -> list[Split]:
        """`rows` of the test part, or of each fold in turn."""
        if self.folds is None:
            return [self.rows(features, pictures)]
        here = np.unique(self.folds[np.intersect1d(features.records, self.indices)])
        return [self.rows(features, pictures, int(fold)) for fold in here]

    def tested_records(self, features: Features, splits: Sequence[Split]) -> np.ndarray:
        """int [M], the test records of these splits, in the order of their predictions."""
        return np.concatenate([features.records[rows.test] for rows in splits])

    def rows(self, features: Features, pictures: Pictures, fold: int | None = None) -> Split:
        """Sort the rows of the features; `fold`: score this fold. Raises InputError: too few images
        left to train or to score on, or labels that nothing can be learned from."""
        hash_of = dict(zip(pictures.indices.tolist(), pictures.hashes, strict=True))
        hashes = np.array([hash_of[i].hex() for i in features.records.tolist()])
        tested = self.is_test if fold is None or self.folds is None else self.folds == fold
        is_test = tested[features.records]
        copy = ~is_test & np.isin(hashes, hashes[is_test])
        near_copy = self.near_copies[0][features.records] & ~copy
        # There may be features of more images than this task uses.
        wanted = np.isin(features.records, self.indices)
        train = np.flatnonzero(wanted & ~is_test & ~copy & ~near_copy)
        test = np.flatnonzero(wanted & is_test)
        if not len(train) or not len(test):
            raise InputError(
                f"{self.name}: no picture of {self.faces.name} left to "
                f"{'score' if len(train) else 'train'} on; check that they are whole"
            )
        known, asked = features.records[train], features.records[test]
        self._check(known, asked)
        people = [self.faces.records[i].person for i in known]
        groups = np.array(
            [person or content for person, content in zip(people, hashes[train], strict=True)]
        )
        validation = self._validation(known, groups)
        return Split(train, test, validation, int(copy.sum()), int((wanted & near_copy).sum()))

    @abstractmethod
    def _check(self, train: np.ndarray, test: np.ndarray) -> None:
        """Raise InputError where the labels of these records can't be learnt or scored."""

    @abstractmethod
    def _validation(self, train: np.ndarray, groups: np.ndarray) -> np.ndarray:
        """Which of the records `train` choose the L2, bool [N]; groups [N] stay together."""

    def sample(self, records: np.ndarray) -> Sample:
        """The test records, drawn by person where known; each unnamed image is its own person."""
        rows = [self.faces.records[i] for i in records]
        people = None
        if any(row.person is not None for row in rows):
            names = [row.person or f"\0{i}" for row, i in zip(rows, records, strict=True)]
            people = np.unique(names, return_inverse=True)[1]
        return Sample([row.key for row in rows], self.replicates, people)


def check_classes(
    task: str, what: str, names: Sequence[str], known: np.ndarray, asked: np.ndarray
) -> None:
    """Check that a classifier of the label `what` can be learned and every test image can be right.

    Args:
        names: of the classes.
        known, asked: int [N] and [M], classes of training and test images.

    Raises:
        InputError: one training class only, or a test class without a training image.
    """
    lacking = np.setdiff1d(asked, known)
    if len(lacking):
        raise InputError(
            f"{task}: no training picture has the {what} '{names[lacking[0]]}', which test "
            "pictures have; add some, or take it out of the test part"
        )
    if len(np.unique(known)) < 2:
        raise InputError(
            f"{task}: every training picture has the {what} '{names[known[0]]}', and a probe needs "
            "two classes at least; add pictures of others"
        )
