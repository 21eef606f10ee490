"""Identification of people, which face networks learn before attributes and expressions
(Savchenko 2021: VGGFace2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from linear_probe.heads.goals import Categories
from linear_probe.heads.pictures import Decoded, LabelledSplit
from linear_probe.tasks import MissingData
from linear_probe.tasks.splits import stratified_group_split
from ssl_faces.data import FaceSet

PEOPLE = "people"
LEAST = 2
"""Images of a person, one to train on and one to validate on."""
KEPT = 0.1


class People:
    """The people of the training parts of face sets, each a class; test people and sets without
    people are left out.

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
