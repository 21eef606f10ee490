"""A user's own data from the command line: class folders, label tables, pairs; none may leak."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from linear_probe.records.recorder import RunFolder
from linear_probe.tasks.identity import MOST_MISSING
from linear_probe.tasks.leaks import find_leaks, placed, refuse_leaks
from linear_probe.tasks.own_pairs import PairFaces
from linear_probe.tasks.own_table import joined_tables, table_faces
from ssl_faces import InputError
from ssl_faces.data import EXPRESSIONS, ClassFolders, FaceSet, JoinedFaces
from ssl_faces.data.sets.expressions import expression_of


@dataclass(frozen=True)
class OwnData:
    """The arguments of the command line; each pair of them goes together.

    Attributes:
        train, test: folders with a folder for each class, the same on both sides.
        train_csv, test_csv: tables of labels (see `table_faces`).
        pairs, images: a file of pairs, and the folder of their pictures (see `PairFaces`).
    """

    train: str | None = None
    test: str | None = None
    train_csv: str | None = None
    test_csv: str | None = None
    pairs: str | None = None
    images: str | None = None

    def face_sets(self, out: str | Path) -> list[FaceSet]:
        """The face sets to score on; none where nothing was named. Leaks are listed in the run's
        folder, `out`. Raises InputError: an argument lacks its partner, the data can't be used,
        or the same image or person is on both sides (`leaks.csv` in `out` lists them)."""
        for first, second in (("train", "test"), ("train_csv", "test_csv"), ("pairs", "images")):
            named = [name for name in (first, second) if getattr(self, name) is not None]
            if len(named) == 1:
                lacking = second if named == [first] else first
                raise InputError(f"{_argument(named[0])} goes with {_argument(lacking)}; name both")
        sets: list[FaceSet] = []
        if self.train is not None and self.test is not None:
            train, test = _class_folders(self.train, self.test)
            _refuse_shared(train, test, Path(out), "--train and --test")
            split = f"{self.train} -> {self.test}"
            sets.append(JoinedFaces(train, test, "own_folders", self.test, split))
        if self.train_csv is not None and self.test_csv is not None:
            train_faces, test_faces = table_faces(self.train_csv, self.test_csv)
            _refuse_shared(train_faces, test_faces, Path(out), "--train-csv and --test-csv")
            sets.append(joined_tables(train_faces, test_faces))
        if self.pairs is not None and self.images is not None:
            paired = PairFaces(self.pairs, self.images)
            _refuse_many_missing(paired, Path(out))
            refuse_leaks(paired.leaks(), Path(out), f"the folds of {self.pairs}")
            sets.append(paired)
        return sets


def joined_sets(train: FaceSet, test: FaceSet, out: Path) -> JoinedFaces:
    """Two face sets as one, to learn on the first and score on the second; `out` as in `OwnData`.
    Raises InputError: other classes, or the same image or person on both sides."""
    if dict(train.class_names) != dict(test.class_names):
        sides = [", ".join(chain(*of.class_names.values())) for of in (train, test)]
        raise InputError(
            f"data: train has the classes {sides[0]}, and test {sides[1]}; both must have the same"
        )
    _refuse_shared(train, test, out, "train and test")
    split = f"{train.title} -> {test.title}"
    return JoinedFaces(train, test, "own_sets", test.title, split)


def _argument(name: str) -> str:
    return "--" + name.replace("_", "-")


def _refuse_shared(train: FaceSet, test: FaceSet, out: Path, what: str) -> None:
    refuse_leaks(find_leaks([*placed(train, "train"), *placed(test, "test")]), out, what)


def _refuse_many_missing(paired: PairFaces, out: Path) -> None:
    missing, total = len(paired.missing_pairs), len(paired.pairs) + len(paired.missing_pairs)
    if missing <= MOST_MISSING * total:
        return
    listed = RunFolder(out).skip(paired.name, (), paired.skipped)
    raise InputError(
        f"{paired.title}: {missing:,} of {total:,} pairs lack a picture, more than "
        f"{MOST_MISSING:.0%}: {len(paired.skipped):,} pictures are missing, listed in "
        f"{listed}; add them, or check --images"
    )


def _class_folders(train: str, test: str) -> tuple[ClassFolders, ClassFolders]:
    train_faces, test_faces = ClassFolders(train), ClassFolders(test)
    # Expressions may be spelt in several ways; other classes are what they are called.
    expressions = train_faces.categories == test_faces.categories == EXPRESSIONS
    spelt = _expression_in if expressions else str
    sides = [{spelt(name): name for name in faces.folders} for faces in (train_faces, test_faces)]
    for argument, partner, folder, missing in (
        ("--train", "--test", train, sides[1].keys() - sides[0].keys()),
        ("--test", "--train", test, sides[0].keys() - sides[1].keys()),
    ):
        if missing:
            raise InputError(
                f"{argument} {folder} has no folder '{min(missing)}', which {partner} has; both "
                "must have the same classes: add it, or take it out of the other"
            )
    (label,) = train_faces.class_names
    taught = {train_faces.categories[record.labels[label]] for record in train_faces.records}
    untaught = sorted(sides[0].keys() - taught)
    if untaught:
        raise InputError(
            f"--train {train}: the folder '{sides[0][untaught[0]]}' holds no picture, so that "
            "nothing can be learnt of that class; add some, or take the class out on both sides"
        )
    return train_faces, test_faces


def _expression_in(folder: str) -> str:
    expression = expression_of(folder)
    return folder if expression is None else EXPRESSIONS[expression]
