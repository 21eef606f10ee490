"""Data sets that are recognised by their folder's contents, and the registry of them.

A data set is one file in this folder: a subclass of `RecognisedSet`, which registers itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import existing_folder
from ssl_faces.common.registries import import_modules
from ssl_faces.data.faces import FacePair, FaceRecord, FaceSet, Part, Skipped, in_test_share
from ssl_faces.data.pictures import BadImage, content_hash
from ssl_faces.data.sets.folder import entry_of

REGISTRY: dict[str, type[RecognisedSet]] = {}
"""By name."""

Entry = FaceRecord | Skipped


class RecognisedSet(FaceSet, ABC):
    """A data set on its owner's layout.

    A subclass with a `name` of its own is registered. It gives `recognises` (or `signature`) and
    `entries`, and what else is known of the data set as class attributes (see `FaceSet` too).

    Args:
        root: the data set's folder.
        part: which part to list.

    Attributes:
        rank: layouts of a smaller rank are tested first; raise it for a layout that folders of
            other sets resemble.
        signature: files, each of which only a folder of this data set has.
        labels: the labels of its records.
        repeatable: whether one root may hold several folders of it.
        folder_title: what a folder of it is called in messages; `title` by default.
        may_be_empty: the parts that may have no image.
        tested: whether probes score on its part `test`.
        fold_count: for cross-validation over people; 0 where the parts are fixed.

    Raises:
        InputError: the folder is missing, has another layout, or a file in it can't be read;
            names the folder or file and line.
    """

    rank: ClassVar[int] = 5
    signature: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[tuple[str, ...]] = ()
    repeatable: ClassVar[bool] = False
    folder_title: ClassVar[str] = ""
    may_be_empty: ClassVar[tuple[Part, ...]] = ()
    tested: ClassVar[bool] = True
    fold_count: ClassVar[int] = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" in cls.__dict__:
            REGISTRY[cls.name] = cls

    def __init__(self, root: str | Path, part: Part = "train", **options: Any) -> None:
        self._held_out: set[str] = set()
        entries = list(self.entries(self.open_root(root), part))
        records = [entry for entry in entries if isinstance(entry, FaceRecord)]
        super().__init__(
            self.name,
            part,
            records,
            held_out_people=frozenset(self._held_out),
            skipped=[entry for entry in entries if isinstance(entry, Skipped)],
            test=partial(type(self), root, "test", **options) if self.tested else None,
            folds=folds_by_person(records, self.fold_count) if self.fold_count else None,
            empty=part in self.may_be_empty,
        )

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        """Whether a folder holds this data set, by its contents."""
        return entry_of(folder, *cls.signature) is not None

    @classmethod
    def incomplete(cls, folder: Path) -> str:
        """A warning about a folder that holds this data set only in part; empty if there is none.

        It is asked about folders in which some data set was recognised.
        """
        return ""

    @abstractmethod
    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        """The records of the part in their order, and what is skipped.

        Test people are added to `_held_out`.

        Raises:
            InputError: the folder or its labels can't be used.
        """

    def open_root(self, root: str | Path) -> Path:
        return existing_folder(root, self.name)

    def need(self, folder: Path, *paths: str, beside: str = "") -> Path:
        """The first of `paths` that exists in a folder, whatever its case. Raises InputError: none
        exists; it names what else the folder holds, `beside` it."""
        place = entry_of(folder, *paths)
        if place is None:
            give = f"it and {beside}" if beside else "it"
            raise InputError(
                f"{self.name}: {folder} has no {min(paths, key=len)}; give the folder that "
                f"holds {give}"
            )
        return place

    def in_part(self, person: str, part: Part) -> bool:
        """Whether a person is in the part by `in_test_share`; holds out test people."""
        tested = in_test_share(person)
        if tested:
            self._held_out.add(person)
        return part == "all" or tested == (part == "test")


class VerificationSet(RecognisedSet):
    """A data set with pairs for verification; `test` is the people who are in a pair.

    Attributes:
        pairs: those whose two images exist, by key; the same in every part (their images are
            records of `test` and `all`).
        missing_pairs: those of which an image is missing; the image is in `skipped`, except for
            the part `train`. Report their number beside every verification figure.
        pairs_source: where pairs are listed, for messages.
    """

    labels = ("person",)
    pairs_source: ClassVar[str]

    pairs: list[FacePair]
    missing_pairs: list[FacePair]

    @abstractmethod
    def listed(self, folder: Path) -> tuple[list[FaceRecord], list[FacePair]]:
        """All records and all pairs; the first part of a pair's key names the person."""

    def person_of(self, key: str) -> str:
        """The person of an image's key."""
        return key.partition("/")[0]

    def is_listed(self, record: FaceRecord, part: Part) -> bool:
        """Whether a record belongs to the part."""
        return part == "all" or (record.person in self._held_out) == (part == "test")

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        records, pairs = self.listed(folder)
        present = {record.key for record in records}
        named = {key for pair in pairs for key in pair[:2]}
        self._held_out |= {self.person_of(key) for key in named}
        self.pairs = [pair for pair in pairs if {*pair[:2]} <= present]
        self.missing_pairs = [pair for pair in pairs if not {*pair[:2]} <= present]
        yield from (record for record in records if self.is_listed(record, part))
        for key in sorted(named - present) if part != "train" else ():
            yield Skipped(key, f"named in {self.pairs_source}, missing on disk")


def registered() -> list[type[RecognisedSet]]:
    """All data sets in the order in which their layouts are tested."""
    _import_all()
    return sorted(REGISTRY.values(), key=lambda kind: (kind.rank, kind.name))


@cache
def _import_all() -> None:
    import_modules("ssl_faces.data.sets")


def sides_of(part: Part) -> tuple[Part, ...]:
    """`train` and `test` for `all`, else the part itself."""
    return ("train", "test") if part == "all" else (part,)


def titles_with(label: str) -> str:
    """The data sets whose records have a label, for a message."""
    titles = [kind.folder_title or kind.title for kind in registered() if label in kind.labels]
    return " or ".join(filter(None, (", ".join(titles[:-1]), titles[-1]))) if titles else ""


def split_by_content(records: Iterable[FaceRecord], part: Part) -> Iterator[Entry]:
    """The records of files whose bytes fall in the part by `in_test_share`, so that byte-identical
    copies are in one part."""
    for record in records:
        if part != "all":
            assert isinstance(record.source, Path)
            try:
                digest = content_hash(record.source).hex()
            except BadImage as error:
                yield Skipped(record.key, str(error))
                continue
            if in_test_share(digest) != (part == "test"):
                continue
        yield record


def folds_by_person(records: list[FaceRecord], folds: int) -> np.ndarray:
    """int [records]: people with labels in order of their name, every `folds`-th together.

    People without a label are in no fold, -1.
    """
    people = sorted({record.person or "" for record in records if record.labels})
    fold_of = {person: i % folds for i, person in enumerate(people)}
    return np.array([fold_of.get(record.person or "", -1) for record in records])
