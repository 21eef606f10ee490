"""A user's own pairs of pictures to verify: LFW's format, or a simple CSV."""

from __future__ import annotations

import os
import posixpath
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from linear_probe.tasks.leaks import Leak, Placed, find_leaks
from linear_probe.tasks.splits import components
from ssl_faces import InputError
from ssl_faces.common.errors import shorten
from ssl_faces.common.files import existing_folder
from ssl_faces.data import IMAGE_SUFFIXES, FacePair, FaceRecord, FaceSet, Skipped
from ssl_faces.data.sets.lfw import read_pairs
from ssl_faces.data.tables import MEND, described, file_in, header_of, read_table

COLUMNS = ("first", "second", "same")
FOLDS = 10
"""Folds that pairs without folds of their own are put in, where they can."""

_SAME = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class _Pair(NamedTuple):
    first: str
    second: str
    same: bool
    fold: str
    where: str  # FILE, line N
    people: tuple[str | None, str | None]


class PairFaces(FaceSet):
    """Images in pairs, with the folds in which they are verified.

    Pairs without folds are put in at most `FOLDS`, such that no image (and no person, where the
    format names people) is in two of them.

    Args:
        pairs_file: LFW's `pairs.txt` format (images `IMAGES/Ann/Ann_0001.jpg` or
            `IMAGES/Ann_0001.jpg`), or CSV with the columns `first` and `second` (paths from
            `images`), `same` (1 or 0) and, if there are folds, `fold` (any names).
        images: the folder of images.

    Attributes:
        pairs, missing_pairs: those whose images exist, by key, and the others, whose images are in
            `skipped`.
        doubled_pairs: how many lines list a pair again; they are left out.

    Raises:
        InputError: a file or folder is missing, a line is malformed or contradicts others (names
            file and line), no pair has both images, or the pairs can't be put in two folds.
    """

    pairs: list[FacePair]
    missing_pairs: list[FacePair]

    def __init__(self, pairs_file: str | Path, images: str | Path) -> None:
        path = Path(pairs_file).expanduser()
        folder = existing_folder(images, "--images")
        listed = _read(path, folder)
        person_of: dict[str, str | None] = {}
        for pair in listed:
            person_of |= {pair.first: pair.people[0], pair.second: pair.people[1]}
        present = {key for key in person_of if os.path.isfile(folder / key)}
        records = [FaceRecord(k, folder / k, person_of[k]) for k in sorted(present)]
        if not records:
            raise InputError(
                f"{path}: none of its {len(person_of):,} pictures is in {folder} (such as "
                f"{next(iter(person_of), '')}); check --images"
            )
        skipped = [
            Skipped(key, f"named in {path.name}, missing on disk")
            for key in sorted(set(person_of) - present)
        ]
        super().__init__("own_pairs", "all", records, skipped=skipped)
        self.title = str(path)
        self._content = {r.key: self.hash_if_readable(i).hex() for i, r in enumerate(records)}
        self._person = person_of
        count = len(listed)
        listed = _distinct(listed, lambda key: self._content.get(key) or posixpath.normpath(key))
        self.doubled_pairs = count - len(listed)
        folds = self._folds(path, listed)
        pairs = [FacePair(*p[:3], fold) for p, fold in zip(listed, folds, strict=True)]
        self.pairs = [pair for pair in pairs if {*pair[:2]} <= present]
        self.missing_pairs = [pair for pair in pairs if not {*pair[:2]} <= present]

    def leaks(self) -> list[Leak]:
        """Pictures, and people where known, that are in several folds."""
        return find_leaks(
            Placed(f"fold {pair.fold}", key, self._content[key], self._person[key])
            for pair in self.pairs
            for key in (pair.first, pair.second)
        )

    def _folds(self, path: Path, listed: Sequence[_Pair]) -> list[int]:
        """The fold of each pair, from 0."""
        names = {pair.fold for pair in listed}
        if len(names) > 1:
            order = sorted(names, key=lambda n: (0, int(n), n) if n.isdecimal() else (1, 0, n))
            return [order.index(pair.fold) for pair in listed]
        # Pairs that share a picture or a person belong together.
        shared = {k: self._person[k] or self._content.get(k) or k for p in listed for k in p[:2]}
        group = components(shared.values(), ((shared[p.first], shared[p.second]) for p in listed))
        members: dict[int, list[int]] = defaultdict(list)
        for i, pair in enumerate(listed):
            members[group[shared[pair.first]]].append(i)
        if len(members) < 2:
            raise InputError(
                f"{path}: all pairs hang together by shared pictures or people, so that no "
                "threshold can be chosen on others; give a column fold"
            )
        folds = [0] * len(listed)
        sizes = np.zeros((min(FOLDS, len(members)), 2), dtype=np.int64)
        for together in sorted(members.values(), key=lambda pairs: (-len(pairs), pairs)):
            kinds = np.bincount([int(listed[i].same) for i in together], minlength=2)
            # Where the pairs' kinds are then the most even over the folds.
            fold = int(((sizes + kinds) ** 2 - sizes**2).sum(axis=1).argmin())
            sizes[fold] += kinds
            for i in together:
                folds[i] = fold
        return folds


def _distinct(listed: Sequence[_Pair], image_of: Callable[[str], str]) -> list[_Pair]:
    """The pairs without those that were listed before, in either order; `image_of` a key: copies of
    a file are one image. Raises InputError: both sides are one image, or lines contradict each
    other."""
    first_of: dict[frozenset[str], _Pair] = {}
    for pair in listed:
        both = frozenset(map(image_of, pair[:2]))
        if len(both) < 2:
            raise InputError(f"{pair.where}: {_both(pair)} are the same image; {MEND}")
        earlier = first_of.setdefault(both, pair)
        if earlier.same != pair.same:
            line = earlier.where.rpartition(", ")[2]
            here, before = ("one person", "two") if pair.same else ("two people", "one person")
            raise InputError(
                f"{pair.where}: {_both(pair)} are {here} here and {before} in {line}; delete one"
            )
    images = {image for both in first_of for image in both}
    person = components(images, (tuple(both) for both, pair in first_of.items() if pair.same))  # type: ignore[misc]
    for both, pair in first_of.items():
        if not pair.same and len({person[image] for image in both}) < 2:
            raise InputError(
                f"{pair.where}: {_both(pair)} are two people here, and one person by other lines "
                f"together; {MEND}"
            )
    return list(first_of.values())


def _both(pair: _Pair) -> str:
    return f"{pair.first[:60]} and {pair.second[:60]}"


def _read(path: Path, images: Path) -> list[_Pair]:
    header = header_of(path)
    if set(COLUMNS[:2]) & set(header):
        return _read_csv(path, images)
    if not all(word.isdecimal() for name in header for word in name.split()):
        raise InputError(
            f"{path}, line 1: neither LFW's format (folds and pairs of each kind in a fold, as in "
            f"'10<TAB>300') nor CSV with the columns {', '.join(COLUMNS)} (and fold), "
            f"{described(header)}"
        )
    return [
        _Pair(
            _lfw_picture(images, *first),
            _lfw_picture(images, *second),
            first[0] == second[0],
            str(fold),
            f"{path}, line {line}",
            (first[0], second[0]),
        )
        for first, second, fold, line in read_pairs(path)
    ]


def _lfw_picture(images: Path, person: str, number: int) -> str:
    stem = f"{person}_{number:04d}"
    for place in (f"{person}/{stem}", stem):
        for suffix in sorted(IMAGE_SUFFIXES, key=lambda s: (s != ".jpg", s)):
            if (images / f"{place}{suffix}").is_file():
                return f"{place}{suffix}"
    return f"{person}/{stem}.jpg"


def _read_csv(path: Path, images: Path) -> list[_Pair]:
    pairs = []
    for where, row in read_table(path, COLUMNS, ["fold"]):
        first, second, same = (row[name] for name in COLUMNS)
        for name in COLUMNS[:2]:
            if not row[name]:
                raise InputError(f"{where}: {name} is empty; {MEND}")
        if first == second:
            raise InputError(f"{where}: {shorten(first)} is paired with itself; {MEND}")
        if same.lower() not in _SAME:
            raise InputError(f"{where}: same is '{shorten(same, 40)}', neither 1 nor 0; {MEND}")
        if "fold" in row and not row["fold"]:
            raise InputError(f"{where}: fold is empty; {MEND}")
        first, second = (file_in(picture, images)[0] for picture in (first, second))
        fold = row.get("fold", "")
        pairs.append(_Pair(first, second, _SAME[same.lower()], fold, where, (None, None)))
    if not pairs:
        raise InputError(f"{path}: no pair below the header; add some")
    kinds = {pair.same for pair in pairs}
    if len(kinds) < 2:
        raise InputError(
            f"{path}: all pairs are {'the same person' if True in kinds else 'two people'}; "
            "verification needs both kinds"
        )
    return pairs
