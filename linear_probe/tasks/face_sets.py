"""The face sets that the arguments name, and the tasks that they serve."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from linear_probe.sources.names import RENDERED
from linear_probe.tasks.classification import Classes
from linear_probe.tasks.task import MissingData, Task
from linear_probe.tasks.toy_sets import TEST_BEDS
from ssl_faces import InputError
from ssl_faces.data import (
    FaceSet,
    ImageFolder,
    cross_database,
    default_data_root,
    find_face_sets,
    usual_faces,
)
from ssl_faces.data.sets.across import same_pictures
from ssl_faces.rendered import RenderedFaces


def crossed(train: Sequence[FaceSet], test: Sequence[FaceSet], label: str) -> list[FaceSet]:
    """`cross_database` of each set that has a label with each that it can be tested on.

    Sets without the label are left out, and so are pairs of the same images where there are others.

    Raises:
        InputError: no set of a side has the label, or as of `cross_database`.
    """
    sides = []
    for sets, argument in ((train, "--data"), (test, "--test-data")):
        having = [faces for faces in sets if any(label in r.labels for r in faces.records)]
        if not having:
            there = ", ".join(faces.title for faces in sets)
            raise InputError(
                f"{argument} has no set with the label {label} (found: {there}); give a folder "
                "with one"
            )
        sides.append(having)
    pairs = [(one, other) for one in sides[0] for other in sides[1]]
    others = [(one, other) for one, other in pairs if not same_pictures(one, other)]
    return [cross_database(one, other, label) for one, other in others or pairs[:1]]


def crossed_by_seed(
    train: dict[int, Sequence[FaceSet]], test: dict[int, Sequence[FaceSet]], kind: type[Task]
) -> dict[int, Sequence[FaceSet]]:
    """`crossed` by seed, for a task; sets that are the same for all seeds are crossed once. Raises
    InputError: the task has no classes, or as of `crossed`."""
    if not issubclass(kind, Classes):
        raise InputError(
            f"--test-data: the task {kind.name} has no classes that two sets may share; leave it "
            "out of --task"
        )
    known: dict[tuple[int, int], Sequence[FaceSet]] = {}
    for seed, sets in train.items():
        both = (id(sets), id(test[seed]))
        if both not in known:
            known[both] = crossed(sets, test[seed], kind.label)
    return {seed: known[id(sets), id(test[seed])] for seed, sets in train.items()}


T = TypeVar("T", bound=Task)
RENDERED_COUNT = 1400
RENDERED_PEOPLE = 140
_ADD = "add it to the data folder"


def face_sets_by_seed(
    data: str | Path | None, or_rendered: bool, seeds: Sequence[int], say: Callable[[str], None]
) -> dict[int, Sequence[FaceSet]]:
    """By seed; real ones are the same for all."""
    if data is None:
        data = usual_faces()
        if data is None:
            say(f"no real faces in {default_data_root()}: scoring on rendered faces")
            data = RENDERED
    if str(data) in TEST_BEDS:
        bed = [TEST_BEDS[str(data)]()]
        return dict.fromkeys(seeds, bed)
    if rendered_faces(data, 0) is None:
        sets = find_face_sets(data, "all")
        if not or_rendered or not all(isinstance(faces, ImageFolder) for faces in sets):
            return dict.fromkeys(seeds, sets)
        say(f"{data}: pictures without labels, nothing to score on; scoring on rendered faces")
        data = RENDERED
    return {s: [faces] for s in seeds if (faces := rendered_faces(data, s)) is not None}


def rendered_faces(data: str | Path, seed: int) -> RenderedFaces | None:
    """The set that `rendered`, of `RENDERED_COUNT` faces, or `rendered:COUNT` names; None where
    `data` is a folder. All of a smaller set's faces are in a larger one. Raises InputError: a
    count that can't be."""
    name, colon, count = str(data).partition(":")
    if name != RENDERED:
        return None
    if colon and not (count.isdecimal() and int(count)):
        raise InputError(
            f"data: '{data}'; give {RENDERED}, or {RENDERED}:COUNT with how many faces, such as "
            f"{RENDERED}:20000"
        )
    faces = int(count) if colon else RENDERED_COUNT
    # As many pictures of each person, or one less, in sets of any size.
    people = math.ceil(faces * RENDERED_PEOPLE / RENDERED_COUNT)
    return RenderedFaces(faces, people, "all", seed=seed)


def serving_tasks(
    kind: type[T], face_sets: Sequence[FaceSet], *arguments: Any, **more: Any
) -> list[T]:
    """A task of a kind on each face set that serves it; further arguments are the task's. Raises
    MissingData: no set serves."""
    try:
        # Without a set that serves, the task's own error names what it needs.
        return [
            kind(sets, *arguments, **more)
            for sets in [[faces] for faces in kind.serving(face_sets)] or [[*face_sets]]
        ]
    except MissingData as error:
        rendered = bool(face_sets) and all(isinstance(s, RenderedFaces) for s in face_sets)
        mend = f"give more rendered faces, such as {RENDERED}:2000" if rendered else _ADD
        raise MissingData(f"task {error}; {mend}") from error
