"""Labelled training pictures kept back from pretraining, for the probes that run beside it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.pictures import BadImage, square
from ssl_faces.data.sets.discover import find_face_sets
from ssl_faces.data.store.held_out import HeldOut, number_of
from ssl_faces.data.store.selection import held_out_by

PICTURES = 2500
"""Most pictures kept back of a face set, where nothing else is asked for."""

SET_SHARE = 0.2
"""Most of a face set's labelled training pictures that are kept back."""

BANK_SHARE = 0.8
"""Of the pictures kept back: what the probes learn on; they are scored on the rest."""

LEAST = 100
"""Fewer pictures of a face set tell nothing: then none of it are kept back."""

Label = Literal["expression", "pose"]
LABELS: tuple[Label, ...] = ("expression", "pose")

OF_PACKS = (
    "packs carry no labels (give data.online_root, a folder with labelled faces, if it is wanted)"
)


@dataclass(frozen=True)
class OnlineFaces:
    """Pictures of one face set that were kept back, the bank's first.

    Attributes:
        title: of the face set, for readers.
        images: uint8 [N, 3, S, S].
        bank: how many of them are the bank.
        targets: by label: int64 [N] (`expression`), float32 [N, 3] (`pose`, degrees).
        by_person: whether whole people were kept back, each in the bank or among the queries.
    """

    title: str
    images: Tensor
    bank: int
    targets: dict[Label, Tensor]
    by_person: bool

    def about(self) -> dict[str, Any]:
        """For the card."""
        return {
            "set": self.title,
            "labels": list(self.targets),
            "bank": self.bank,
            "queries": len(self.images) - self.bank,
            "split": "by person" if self.by_person else "by picture",
        }


@dataclass(frozen=True)
class Slice:
    """Which pictures of a face set are kept back.

    Attributes:
        rows: into the set's records, the bank's first.
        bank: how many of them are the bank.
    """

    faces: FaceSet
    labels: list[Label]
    rows: list[int]
    bank: int

    def held_out(self) -> HeldOut:
        """Their people, and the pictures with all their byte-identical copies."""
        people = {self.faces.records[row].person for row in self.rows} - {None}
        return HeldOut.of(
            [number_of(person) for person in people if person is not None],
            [self.faces.content_hash(row) for row in self.rows],
        )

    def read(self, size: int) -> OnlineFaces:
        """Decode them, without those that can't be."""
        images, rows = [], []
        pictures = self.faces.read_many(self.rows, at_least=size, shrink=partial(square, size=size))
        for row, picture in zip(self.rows, pictures, strict=True):
            if not isinstance(picture, BadImage):
                images.append(picture)
                rows.append(row)
        in_bank = set(self.rows[: self.bank])
        targets = {
            label: torch.from_numpy(
                np.stack([np.asarray(self.faces.records[row].labels[label]) for row in rows])
            )
            for label in self.labels
        }
        return OnlineFaces(
            self.faces.title,
            torch.from_numpy(np.stack(images)),
            sum(row in in_bank for row in rows),
            targets,
            bool(self.faces.people),
        )


@dataclass
class Online:
    """What is kept back for the online probe, or why nothing is.

    Attributes:
        held_out: what pretraining leaves out for it.
        faces: the pictures.
        off: why there are none, in words.
    """

    held_out: HeldOut = field(default_factory=HeldOut.of)
    faces: list[OnlineFaces] = field(default_factory=list)
    off: str = ""

    def __str__(self) -> str:
        return ", ".join(f"{len(one.images):,} pictures of {one.title}" for one in self.faces)


def keep_back(sets: Sequence[FaceSet], tests: HeldOut, count: int, size: int) -> Online:
    """Keep back up to `count` pictures of a set with expressions and of one with poses.

    For each label the set with the most pictures that have it serves, one set for both if it may.
    No more than `SET_SHARE` of a set is kept back: whole people where people are known, in an order
    that follows from a hash of their names (of the pictures' keys where not). Neither test pictures
    nor pictures of test people are among them, and no picture twice.

    Args:
        tests: what probes test on, whether or not pretraining leaves it out.
        size: side that the pictures are read at.
    """
    # One pass: rendered sets make their records anew each time.
    counts = [Counter(chain.from_iterable(r.labels for r in faces.records)) for faces in sets]
    serving: dict[int, list[Label]] = {}
    for label in LABELS:
        having = [count[label] for count in counts]
        if max(having):
            serving.setdefault(having.index(max(having)), []).append(label)
    kept = Online()
    for place, labels in serving.items():
        found = _slice(sets[place], labels, tests, count)
        if found is not None:
            kept.held_out |= found.held_out()
            kept.faces.append(found.read(size))
    if not kept.faces:
        least = round(LEAST / SET_SHARE)
        kept.off = f"no set to train on has {least} pictures with an expression or a pose"
    return kept


def keep_back_of_root(root: Path, tests: HeldOut, count: int, size: int) -> Online:
    """`keep_back` of the face sets in a folder, by their own tests too. Raises InputError: as of
    `find_face_sets`, or no set of the folder has the labels."""
    sets = find_face_sets(root)
    kept = keep_back(sets, tests | held_out_by(sets), count, size)
    if kept.off:
        raise InputError(f"data.online_root: {root}: {kept.off.replace('to train on', 'there')}")
    return kept


def _slice(faces: FaceSet, labels: list[Label], tests: HeldOut, count: int) -> Slice | None:
    tested = set(tests.people.tolist())
    names: list[tuple[str, int]] = []
    for row, record in enumerate(faces.records):
        person = record.person
        if all(label in record.labels for label in labels):
            if person is None:
                names.append((json.dumps(["picture", record.key]), row))
            elif number_of(person) not in tested:
                names.append((json.dumps(["person", person]), row))
    most = min(count, int(len(names) * SET_SHARE))
    names.sort(key=lambda one: (_order(one[0]), one[1]))
    groups: list[list[int]] = []
    seen = {row.tobytes() for row in (*tests.hashes, *tests.near)}
    taken = 0
    for _, members in groupby(names, key=lambda one: one[0]):
        group = list(_fresh(faces, [row for _, row in members], seen))
        if taken + len(group) > most:
            break
        if group:
            groups.append(group)
        taken += len(group)
    if taken < LEAST or len(groups) < 2:
        return None
    bank = len(groups[0])
    for group in groups[1:-1]:
        if bank + len(group) > BANK_SHARE * taken:
            break
        bank += len(group)
    return Slice(faces, labels, [row for group in groups for row in group], bank)


def _order(name: str) -> bytes:
    return hashlib.sha256(f"online probe {name}".encode()).digest()


def _fresh(faces: FaceSet, rows: Iterable[int], seen: set[bytes]) -> Iterable[int]:
    """Those whose bytes were not seen before; they then have been."""
    for row in rows:
        digest = faces.hash_if_readable(row)
        if digest and digest not in seen:
            seen.add(digest)
            yield row
