"""The training parts of face sets, split anew: what choices may be scored on instead of tests."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from ssl_faces import InputError
from ssl_faces.data import FacePair, FaceRecord, FaceSet
from ssl_faces.data.faces import in_test_share

FOLDS = 5
"""Of pairs to verify."""


def validation_sets(face_sets: Sequence[FaceSet]) -> list[FaceSet]:
    """The training part of each set, with a test part of its own: a fifth of its people, or of its
    images where no person is known.

    Images of people whom any of the sets tests on are left out. People with several images are
    verified: each image of the first half of a person's, by key, with that which is half of them
    further on, in videos mostly of another recording; and as many pairs of two people.

    Args:
        face_sets: in their part `all`.

    Raises:
        InputError: none of them has a training part beside its test part.
    """
    held_out = {person for faces in face_sets for person in faces.held_out_people}
    parts = [part for faces in face_sets if (part := _part(faces, held_out)) is not None]
    if not parts:
        there = ", ".join(faces.title for faces in face_sets)
        raise InputError(
            f"--validation: no set has a training part beside its test part (found: {there}); give "
            "a folder with one, or leave it out"
        )
    return parts


def _part(faces: FaceSet, held_out: set[str]) -> FaceSet | None:
    test = None if faces.folds is not None else faces.test_part()
    if test is None:
        return None
    tested = {record.key for record in test.records}
    records = [r for r in faces.records if r.key not in tested and r.person not in held_out]
    rows = [r for r in records if in_test_share(f"validation {r.person or r.key}")]
    if not rows or len(rows) == len(records):
        return None
    name = f"{faces.name}_validation"
    part = FaceSet(name, "all", records, test=lambda: FaceSet(name, "test", rows))
    part.title = f"{faces.title}, training part"
    part.split = "a fifth of the training part, by " + ("person" if part.people else "image")
    part.class_names, part.pose_truth = faces.class_names, faces.pose_truth
    part.near_copies = faces.near_copies
    part.pairs = _pairs(records)  # type: ignore[attr-defined]
    return part


def _pairs(records: Sequence[FaceRecord]) -> list[FacePair]:
    keys: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.person is not None:
            keys[record.person].append(record.key)
    people = sorted(person for person, of in keys.items() if len(of) > 1)
    draw = random.Random(0)
    draw.shuffle(people)
    pairs = []
    for fold in range(FOLDS):
        members = people[fold::FOLDS]
        if len(members) < 2:
            return []
        for i, person in enumerate(members):
            mine, other = sorted(keys[person]), keys[members[i - 1]]
            half = len(mine) // 2
            for first, second in zip(mine[:half], mine[-half:], strict=True):
                pairs.append(FacePair(first, second, True, fold))
                pairs.append(FacePair(first, draw.choice(other), False, fold))
    return pairs
