"""Cross-database evaluation: two face sets as one, to train on the first and test on the second.

As in Mollahosseini, Chan and Mahoor, "Going Deeper in Facial Expression Recognition using Deep
Neural Networks", WACV 2016, but of one set at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceRecord, FaceSet, Part
from ssl_faces.data.sets.joined import JoinedFaces, SelectedFaces


def cross_database(train: FaceSet, test: FaceSet, label: str = "expression") -> JoinedFaces:
    """A set whose training part is of `train`, and whose part `test` is all of `test`.

    Of `train` the training part is learnt from; all of it where it has none, as sets that are
    scored in folds. Both sides are taken over the classes that they both have pictures of, in the
    order of `train`, and classes are matched by their names; others are left out, and `split` says
    which. Pictures have that label and no other. Nobody is on both sides: people of the same name
    in both sets are two. There are no folds. Pictures that are in both, byte for byte, stay in
    both: tasks leave them out of training. Of `test` its training part is scored on too, which an
    encoder may have been pretrained on (without its labels).

    Args:
        train, test: each in its part `all`.
        label: a label with `class_names`.

    Raises:
        InputError: a set has no picture with the label, fewer than two classes are in both, or
            both have the same pictures.
    """
    if same_pictures(train, test):
        raise InputError(
            f"{train.title} and {test.title} have the same pictures, so that one can't test what "
            "is learnt on the other; give another set (of two folders of one name rename one)"
        )
    rows = _training_rows(train, label), _rows(test, label)
    for faces, those, purpose in ((train, rows[0], "learn from"), (test, rows[1], "test on")):
        if not len(those):
            raise InputError(
                f"{faces.title} has no picture with the label {label} to {purpose}; give a set "
                "that has"
            )
    names = [
        _classes_of(faces, those, label) for faces, those in zip((train, test), rows, strict=True)
    ]
    shared = [name for name in names[0] if name in names[1]]
    if len(shared) < 2:
        raise InputError(
            f"{train.title} has the classes {', '.join(names[0])} of {label} and {test.title} "
            f"{', '.join(names[1])}: {'no' if not shared else 'only one'} class is in both, where "
            "two are needed; give other sets, or name the classes alike"
        )
    left_out = [name for name in dict.fromkeys(names[0] + names[1]) if name not in shared]
    partly = len(rows[0]) < len(_rows(train, label))
    split = (
        f"{'training part' if partly else 'all'} of {train.title} -> all of {test.title}, "
        f"{len(shared)} classes{', without ' + ', '.join(left_out) if left_out else ''}"
    )
    return JoinedFaces(
        _side(train, rows[0], label, shared, "train"),
        _side(test, rows[1], label, shared, "test"),
        f"{train.name}-to-{test.name}",
        f"{train.title} -> {test.title}",
        split,
    )


def same_pictures(one: FaceSet, other: FaceSet) -> bool:
    """Whether two sets are one, or have the same images; by their names."""
    first, second = (faces.same_images_as or faces.name for faces in (one, other))
    return first == second


def _rows(faces: FaceSet, label: str) -> np.ndarray:
    """int64 [N], the records that have the label."""
    return np.flatnonzero([label in record.labels for record in faces.records])


def _training_rows(faces: FaceSet, label: str) -> np.ndarray:
    """int64 [N], those of the training part; of all, where the set has no test part or no other."""
    rows = _rows(faces, label)
    tested: set[str] = set()
    # A copy of the set may lack its test part.
    test = faces.test_part() if faces.folds is None else None
    if test is not None:
        tested = {record.key for record in test.records}
    training = np.array([i for i in rows.tolist() if faces.records[i].key not in tested], np.int64)
    return training if len(training) else rows


def _classes_of(faces: FaceSet, rows: np.ndarray, label: str) -> list[str]:
    """The names of those classes that some of the records are of, in the set's order. Raises
    InputError: the label has no classes."""
    names = faces.class_names.get(label)
    if names is None:
        raise InputError(f"{faces.title}: its label {label} has no classes; give one that has")
    present = {int(faces.records[i].labels[label]) for i in rows.tolist()}
    return [name for number, name in enumerate(names) if number in present]


def _side(
    faces: FaceSet, rows: np.ndarray, label: str, shared: Sequence[str], part: Part
) -> SelectedFaces:
    names = faces.class_names[label]
    places: list[tuple[FaceSet, int]] = []
    records: list[FaceRecord] = []
    for row in rows.tolist():
        record = faces.records[row]
        name = names[int(record.labels[label])]
        if name in shared:
            person = None if record.person is None else f"{part}/{record.person}"
            labels = {label: shared.index(name)}
            places.append((faces, row))
            records.append(FaceRecord(record.key, record.source, person, labels, record.box))
    return SelectedFaces(
        *(places, faces.name, part, records, {label: tuple(shared)}),
        skipped=faces.skipped,
        held_out_people=faces.held_out_people,
    )
