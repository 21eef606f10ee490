"""Packing: face sets decoded once, at the size of training, to the shards of a pack.

The container was chosen by measurement (10,000 images of 64 px on one core). By number, which
partners and resuming need, plain shards read by `pread` gave 190,000 images a second and litdata
400 (60,000 in its own order); webdataset has no access by number, 12,000 in its own order. A
memory map of local shards (40,000 images of 64 px, batches of 256) gave 94,000 to 114,000 images a
second where `pread` gave 62,000 to 77,000 on the same busy core. Its resident memory grew by the
whole pack (470 MB, reclaimable), `pread`'s by 4 MB, and a shard that is cut short under a run ends
the run by SIGBUS, where `pread` gives an error that names the file. Either is faster than training
needs, so `pread` stays. 500,000 images take 2.8 % more peak memory than 50,000.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file, write_failure
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.pictures import BadImage
from ssl_faces.data.store.held_out import (
    COPIES,
    NEAR_COPIES,
    OF_PEOPLE,
    HeldOut,
    dump_held_out,
    parse_held_out,
)
from ssl_faces.data.store.packs import (
    COPY,
    INDEX,
    NEAR_COPY,
    TESTS,
    Index,
    Pack,
    Passed,
    whole_shards,
)
from ssl_faces.data.store.shards import (
    Columns,
    Shard,
    ShardEntry,
    file_hash,
    pictures_a_shard,
    write_shard,
)
from ssl_faces.data.store.sources import Sources, square

__all__ = ["Packed", "pack_sets", "square"]

_log = logging.getLogger(__name__)
_PIECE = 256  # images given to the decoding threads at once


@dataclass
class Packed:
    """The result of a packing.

    Attributes:
        pictures: images to train on that the pack now has.
        added: of them, those decoded now.
        changed, gone: keys of packed images that have changed or are gone; no longer trained on.
        left_out_since: packed images that are now known as test images.
        of_test_people, copies, near_copies: listed images that are left out.
        skipped: images that can't be used.
        repaired: shards that were missing or broken and are packed again.
    """

    pictures: int = 0
    added: int = 0
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    left_out_since: int = 0
    of_test_people: int = 0
    copies: int = 0
    near_copies: int = 0
    skipped: int = 0
    repaired: int = 0


def pack_sets(
    sets: Sequence[FaceSet],
    out: Path,
    size: int,
    *,
    held_out: HeldOut | None = None,
    workers: int = 4,
    wait: bool = False,
    cache: Path | None = None,
) -> Packed:
    """Pack face sets to the folder `out`, or add to the pack that is there.

    Non-square images lose their longer side's ends. Images that can't be decoded are skipped and
    listed. Images of a person lie side by side; people, and images without a person, lie in an
    order that follows from a hash of their names, so that no stretch is of one set or kind. The
    order doesn't depend on where the files lie or on their times.

    A killed packing resumes behind its last whole shard, and the result equals an uninterrupted
    one, byte for byte. Of an existing pack, only images that it does not have are decoded, into
    new shards; those that have changed or gone, and those of `held_out`, are marked as dropped.
    Sets of the pack that are not given stay as they are.

    All existing shards are compared with their SHA-256 first. The images of those that are missing
    or broken are decoded again; if the listing is the one that the pack was made of, each shard
    comes back byte for byte, in its place.

    Args:
        held_out: people and images to leave out, beside those that the pack left out before.
        wait: whether to wait for another process that packs to `out`.

    Raises:
        InputError: the pack has another size, its index is broken, or a shard is that may hold
            sets that are not given; two sets share a name, another process packs to `out` (without
            `wait`), no image can be decoded, or `out` can't be written.
    """
    names = [faces.name for faces in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two face sets are called {name}; rename the folder of one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".lock", timeout=-1 if wait else 0):
            return _Packing(sets, out, size, held_out or HeldOut.of(), workers).run(cache)
    except Timeout as error:
        raise InputError(
            f"{out}: another process is packing to it; wait until it is done"
        ) from error
    except OSError as error:
        raise InputError(f"{error.filename or out}: {write_failure(error)}") from error


class _Packing:
    def __init__(
        self, sets: Sequence[FaceSet], out: Path, size: int, held_out: HeldOut, workers: int
    ) -> None:
        self.sets, self.out, self.size, self.workers = list(sets), out, size, workers
        self.done = Packed()
        self.index = Index(size)
        if (out / INDEX).exists():
            self.index = Index.read(out / INDEX)
            if self.index.size != size:
                raise InputError(
                    f"{out}: a pack of {self.index.size} px, not {size}; pack to another folder"
                )
        names = [faces.name for faces in sets]
        before = {about["name"]: i for i, about in enumerate(self.index.sets)}
        others = [name for name in before if name not in names]
        if (out / INDEX).exists():
            held_out = self._held_out_before(others) | held_out
        self.held_out = held_out
        self.numbers = [before.setdefault(faces.name, len(before)) for faces in sets]
        # The first number of a new shard, also behind a lost one.
        self.next = 1 + max((_number(e.file) for e in self.index.shards), default=-1)
        whole = whole_shards(out, self.index.shards)
        lost = [entry.file for entry in self.index.shards if entry not in whole]
        for file in lost:
            self._make_again(file, others)
        self.lost = {_number(file) for file in lost}
        self.done.repaired = len(lost)
        self.index.shards = whole

    def _held_out_before(self, others: list[str]) -> HeldOut:
        """The people and images that the pack has left out so far."""
        try:
            return parse_held_out(regular(self.out / TESTS).read_bytes(), TESTS)
        except (OSError, InputError):
            self._make_again(TESTS, others)
            return HeldOut.of()

    def _make_again(self, file: str, others: list[str]) -> None:
        """Warn that a file is broken; refuse if it may be of sets that are not given."""
        if others:
            raise InputError(
                f"{self.out / file}: missing or broken, and may be of {', '.join(others)}; give "
                "all folders that the pack was made of, to make it again"
            )
        _log.warning("%s: missing or broken; making it again", self.out / file)

    def run(self, cache: Path | None) -> Packed:
        for name in ("shard-*.safetensors", TESTS, INDEX):
            for part in self.out.glob(f".{name}.*"):
                part.unlink()  # of a packing that was killed
        self.sources = Sources(self.sets, self.numbers)
        self.of_test_people = self.held_out.of_people(self.sources.people)
        self.done.of_test_people = int(self.of_test_people.sum())
        self._drop()
        pieces = self._pieces()
        what = ", ".join(faces.name for faces in self.sets)
        count = sum(len(piece) for _, piece in pieces)
        with tqdm(total=count, desc=f"packing {what}", unit="faces") as bar:
            for number, piece in pieces:
                path = self.out / f"shard-{number:05d}.safetensors"
                entry = None if number in self.lost else self._made_before(path, piece)
                if entry is None:
                    entry = self._shard(path, piece, bar)
                else:
                    bar.update(len(piece))
                if entry is not None:
                    self.index.shards.append(entry)
        self.index.shards.sort(key=lambda entry: _number(entry.file))
        self._finish()
        Pack(self.out, cache).remember_verified()
        return self.done

    def _drop(self) -> None:
        """Mark stored images that are no longer to be trained on; note what is stored."""
        sources = self.sources
        self.stored = self._stored()
        known = np.isin(sources.versions, self.stored)
        listed: dict[tuple[int, str], int] | None = None
        self.stored_copies = {
            key: np.zeros(len(self.index.sets), np.int64) for key in (COPIES, NEAR_COPIES)
        }
        for k, entry in enumerate(self.index.shards):
            with Shard(self.out / entry.file) as shard:
                versions, sets = shard.column("versions"), shard.column("sets")
                given = np.isin(sets, self.numbers)
                stale = given & ~np.isin(versions, sources.versions)
                if stale.any():
                    listed = listed or sources.places()
                    keys, hashes = shard.keys(), shard.column("hashes")
                    for row in np.flatnonzero(stale).tolist():
                        at = listed.get((int(sets[row]), keys[row]))
                        if at is None or known[at]:
                            continue
                        if sources.has_bytes(at, hashes[row].tobytes()):
                            sources.versions[at] = versions[row]
                            stale[row], known[at] = False, True
                left_out = self.held_out.left_out(shard.column("people"), shard.column("hashes"))
                drop = np.logical_or.reduce([stale, *left_out.values()])
                before = np.zeros(len(drop), bool)
                before[entry.dropped] = True
                # An image that is again as it was packed is trained on again.
                drop |= before & ~given
                fresh = drop & ~before
            self.index.shards[k] = replace(entry, dropped=np.flatnonzero(drop).tolist())
            for row in np.flatnonzero(fresh & stale).tolist():
                assert listed is not None
                exists = (int(sets[row]), keys[row]) in listed
                (self.done.changed if exists else self.done.gone).append(keys[row])
            self.done.left_out_since += int((fresh & ~stale).sum())
            for key, count in self.stored_copies.items():
                count += self._by_set(sets[left_out[key] & given & ~stale])
            # `_finish` does not count sets that are not given.
            for key, which in left_out.items():
                for number in sets[which & fresh & ~given].tolist():
                    about = self.index.sets[number]
                    about[key] = about.get(key, 0) + 1

    def _stored(self) -> np.ndarray:
        """int64: the versions of all images in the shards."""
        versions = [np.zeros(0, np.int64)]
        for entry in self.index.shards:
            with Shard(self.out / entry.file) as shard:
                versions.append(shard.column("versions"))
        return np.concatenate(versions)

    def _pieces(self) -> list[tuple[int, np.ndarray]]:
        """The number of each shard to make, and its places of `sources`."""
        versions = self.sources.versions
        stored = np.isin(versions, self.stored)
        passed = [p.version for p in self.index.passed if p.version is not None]
        new = ~stored & ~np.isin(versions, passed) & ~self.of_test_people
        again = []
        if self.lost:
            # The images of a lost shard if all was packed at once: it gets its place back, so that
            # the order of training stays.
            for number, piece in enumerate(self._cut(np.flatnonzero(~self.of_test_people))):
                if number in self.lost and not stored[piece].any():
                    again.append((number, piece))
                    new[piece] = False
                    mine = set(versions[piece].tolist())
                    self.index.passed = [p for p in self.index.passed if p.version not in mine]
        return again + list(enumerate(self._cut(np.flatnonzero(new)), start=self.next))

    def _cut(self, new: np.ndarray) -> list[np.ndarray]:
        """These places of `sources` by shard, a person's images side by side."""
        groups = np.where(self.sources.people < 0, self.sources.order, self.sources.people)[new]
        order = np.argsort(groups, kind="stable")
        most = pictures_a_shard(self.size)
        pieces: list[np.ndarray] = []
        piece: list[int] = []
        for _, group in groupby(
            zip(groups[order].tolist(), new[order].tolist(), strict=True), itemgetter(0)
        ):
            members = [index for _, index in group]
            if piece and len(piece) + len(members) > most:
                pieces.append(np.array(piece))
                piece = []
            piece += members
            # A person with more images than a shard holds fills several.
            while len(piece) > most:
                pieces.append(np.array(piece[:most]))
                piece = piece[most:]
        return [*pieces, np.array(piece)] if piece else pieces

    def _shard(self, path: Path, piece: np.ndarray, bar: tqdm[Any]) -> ShardEntry | None:
        """Decode the images of one shard; None where none of them can be used."""
        sources = self.sources
        images, rows, hashes, passed = [], [], [], []
        for start in range(0, len(piece), _PIECE):
            decoded = sources.decoded(piece[start : start + _PIECE], self.size, self.workers)
            digests = np.frombuffer(b"".join(digest for *_, digest in decoded), np.uint8)
            digests = digests.reshape(-1, 32)
            copies = self.held_out.copies(digests).tolist()
            near_copies = self.held_out.near_copies(digests).tolist()
            for (at, picture, digest), copy, near in zip(decoded, copies, near_copies, strict=True):
                if isinstance(picture, BadImage):
                    passed.append(self._passed(at, str(picture)))
                elif copy or near:
                    passed.append(self._passed(at, COPY if copy else NEAR_COPY))
                else:
                    images.append(picture)
                    rows.append(at)
                    hashes.append(digest)
            bar.update(len(decoded))
        self.index.passed += passed
        if not images:
            return None
        entry = write_shard(
            path,
            np.stack(images),
            Columns(
                sources.versions[rows],
                sources.sets_of[rows],
                sources.people[rows],
                np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32),
                [sources.key(at) for at in rows],
            ),
            {"passed": [[p.face_set, p.key, p.reason, p.version] for p in passed]},
        )
        self.done.added += entry.pictures
        return entry

    def _made_before(self, path: Path, piece: np.ndarray) -> ShardEntry | None:
        """The shard that a killed packing made of these images."""
        try:
            with Shard(path) as shard:
                passed = [Passed(*fields) for fields in shard.about()["passed"]]
                versions = np.array([p.version for p in passed], np.int64)
                both = np.concatenate((shard.column("versions"), versions))
                if not np.array_equal(np.sort(both), np.sort(self.sources.versions[piece])):
                    return None
                left_out = self.held_out.left_out(shard.column("people"), shard.column("hashes"))
                if any(map(np.any, left_out.values())) or shard.size != self.size:
                    return None
                content, pictures = shard.check(), shard.pictures
        except (FileNotFoundError, InputError, KeyError, TypeError, ValueError):
            return None
        self.index.passed += passed
        self.done.added += pictures
        size = path.stat().st_size
        return ShardEntry(path.name, pictures, size, file_hash(path), content=content)

    def _passed(self, at: int, reason: str) -> Passed:
        sources = self.sources
        return Passed(sources.faces(at).name, sources.key(at), reason, int(sources.versions[at]))

    def _finish(self) -> None:
        given = {faces.name for faces in self.sets}
        listed = set(self.sources.versions.tolist())
        passed = [p for p in self.index.passed if p.face_set not in given or p.version in listed]
        for faces in self.sets:
            passed += [Passed(faces.name, s.key, s.reason, None) for s in faces.skipped]
        self.index.passed = passed
        self.done.pictures = sum(e.pictures - len(e.dropped) for e in self.index.shards)
        self.done.skipped = sum(p.is_skipped for p in passed)
        self.done.copies = sum(p.reason == COPY for p in passed)
        self.done.near_copies = sum(p.reason == NEAR_COPY for p in passed)
        if not self.done.pictures:
            bad = next((p for p in passed if p.is_skipped and p.version is not None), None)
            why = f" ({bad.key}: {bad.reason}); check that they are whole" if bad else ""
            end = "can be decoded" if bad else "is left to train on; give more faces"
            raise InputError(
                f"{', '.join(sorted(given))}: none of its {len(self.sources)} pictures {end}{why}"
            )
        for number, faces in zip(self.numbers, self.sets, strict=True):
            mine = self.sources.sets_of == number
            about = {
                "name": faces.name,
                "part": faces.part,
                "people": bool(faces.people),
                "identity_labels": bool(faces.people) and faces.identity_labels,
                "tests": faces.part == "all" and faces.has_test_part and self.held_out.is_empty,
                OF_PEOPLE: int(self.of_test_people[mine].sum()),
            }
            for key, reason in ((COPIES, COPY), (NEAR_COPIES, NEAR_COPY)):
                stored = self.stored_copies[key][number : number + 1].sum()
                passed_by = sum(p.face_set == faces.name and p.reason == reason for p in passed)
                about[key] = int(stored) + passed_by
            self.index.sets[number : number + 1] = [about]
        for number, pictures in enumerate(self._pictures_by_set().tolist()):
            self.index.sets[number]["pictures"] = pictures
        replace_file(self.out / TESTS, dump_held_out(self.held_out))
        replace_file(self.out / INDEX, self.index.dump())
        kept = {entry.file for entry in self.index.shards}
        for path in self.out.glob("shard-*.safetensors"):
            if path.name not in kept:
                with suppress(OSError):
                    path.unlink()

    def _pictures_by_set(self) -> np.ndarray:
        counts = np.zeros(len(self.index.sets), np.int64)
        for entry in self.index.shards:
            with Shard(self.out / entry.file) as shard:
                counts += self._by_set(np.delete(shard.column("sets"), entry.dropped))
        return counts

    def _by_set(self, sets: np.ndarray) -> np.ndarray:
        """int64 [sets of the pack]: how many of these images are of each."""
        return np.bincount(sets, minlength=len(self.index.sets))


def _number(file: str) -> int:
    digits = file.removeprefix("shard-").removesuffix(".safetensors")
    return int(digits) if digits.isdigit() else -1
