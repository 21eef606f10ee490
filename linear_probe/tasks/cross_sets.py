"""Cross-database evaluation: train on the sets of one folder, test on those of another."""

from __future__ import annotations

from collections.abc import Sequence

from linear_probe.tasks.classification import Classes
from linear_probe.tasks.task import Task
from ssl_faces import InputError
from ssl_faces.data import FaceSet, cross_database
from ssl_faces.data.sets.across import same_pictures


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
    """`crossed` by seed, for a task; sets that are the same for all seeds are crossed once.

    Raises:
        InputError: the task has no classes, or as of `crossed`.
    """
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
