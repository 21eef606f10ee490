"""Packing: face sets decoded once, at the size of training, to the shards of a pack."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from filelock import FileLock, Timeout
from tqdm import tqdm

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file, write_failure
from ssl_faces.common.shards import Shard
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.pictures import BadImage
from ssl_faces.data.store.held_out import (
    COPIES,
    NEAR_COPIES,
    OF_PEOPLE,
    HeldOut,
    isin_rows,
)
from ssl_faces.data.store.index import (
    COPY,
    INDEX,
    NEAR_COPY,
    Images,
    Index,
    Passed,
    ShardEntry,
)
from ssl_faces.data.store.listed import Listed
from ssl_faces.data.store.packs import Pack, broken_shards, write_shard

_log = logging.getLogger(__name__)

SHARD_BYTES = 32 * 2**20
"""About how many bytes of images a shard holds."""

_CHUNK = 256  # images given to the decoding threads at once


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
    shard: Shard | None = None,
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
    or broken are decoded again, in their places; if none has changed since, the shard comes back
    byte for byte.

    Args:
        held_out: people and images to leave out, beside those that the pack left out before.
        wait: whether to wait for another process that packs to `out`.
        shard: only write this part of the pack's new files, beside processes that write the others;
            packing without it then finds them, as those of a killed packing.

    Raises:
        InputError: the pack has another size, its index is broken, or a shard is that has images
            of sets that are not given; two sets share a name, another process packs to `out`
            (without `wait`), no image can be decoded, or `out` can't be written.
    """
    names = [faces.name for faces in sets]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two face sets are called {name}; rename the folder of one")
    try:
        out.mkdir(parents=True, exist_ok=True)
        settings = (sets, out, size, held_out or HeldOut.of(), workers)
        if shard is not None:
            return _Packing(*settings).run_shard(shard)
        with FileLock(out / ".lock", timeout=-1 if wait else 0):
            return _Packing(*settings).run(cache)
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
        self.sets, self.out, self.size, self.workers = sets, out, size, workers
        self.done = Packed()
        self.index = Index.read(out) if (out / INDEX).exists() else Index(size)
        if self.index.size != size:
            raise InputError(
                f"{out}: a pack of {self.index.size} px, not {size}; pack to another folder"
            )
        self.index.held_out |= held_out
        before = {about["name"]: i for i, about in enumerate(self.index.sets)}
        self.numbers = [before.setdefault(faces.name, len(before)) for faces in sets]
        self.index.sets += [{} for _ in range(len(before) - len(self.index.sets))]

    def run(self, cache: Path | None) -> Packed:
        for part in self.out.glob(".*.*"):
            if part.name.startswith((".shard-", ".images-", f".{INDEX}")):
                part.unlink()  # of a packing that was killed
        self._list()
        self._repair()
        added = [self.index.images]
        for entry, rows, passed in self._shards():
            self.index.passed += passed
            if entry is not None:
                self.index.shards.append(entry)
                added.append(rows)
                self.done.added += entry.pictures
        self.index.images = Images.joined(added)
        self._finish()
        Pack(self.out, cache).remember_verified()
        return self.done

    def run_shard(self, shard: Shard) -> Packed:
        """Write a part of the new files, and no index."""
        self._list()
        for entry, _, _ in self._shards(shard):
            self.done.added += 0 if entry is None else entry.pictures
        return self.done

    def _list(self) -> None:
        self.listed = Listed(self.sets, self.numbers)
        self.of_test_people = np.isin(self.listed.people, self.index.held_out.people)
        self.done.of_test_people = int(self.of_test_people.sum())
        self._drop()

    def _shards(self, part: Shard | None = None) -> Iterator[_Made]:
        """Each shard to make, or those of a part; made now, or before by a killed packing."""
        numbers = (int(Path(entry.file).stem[len("shard-") :]) for entry in self.index.shards)
        pieces = list(enumerate(self._pieces(), 1 + max(numbers, default=-1)))
        mine = pieces if part is None else part.of(pieces)
        total = sum(len(piece) for _, piece in mine)
        what = ", ".join(faces.name for faces in self.sets)
        with tqdm(total=total, desc=f"packing {what}", unit="faces") as bar:
            for number, piece in mine:
                path = self.out / f"shard-{number:05d}.npy"
                made = self._made_before(path, piece)
                if made is not None:
                    bar.update(len(piece))
                yield made or self._make(path, piece, bar)

    def _drop(self) -> None:
        """Mark stored images that are no longer to be trained on."""
        images, listed, index = self.index.images, self.listed, self.index
        current = np.isin(images.sets, self.numbers)
        stale = current & ~np.isin(images.versions, listed.versions)
        exists = np.zeros(len(images), bool)
        if stale.any():
            known = np.isin(listed.versions, images.versions)
            places = {(int(listed.sets_of[i]), listed.key(i)): i for i in range(len(listed))}
            keys = images.key_list()
            for row in np.flatnonzero(stale).tolist():
                at = places.get((int(images.sets[row]), keys[row]))
                exists[row] = at is not None
                # The same image as a file of another time.
                if at is None or known[at]:
                    continue
                if listed.has_bytes(at, images.hashes[row].tobytes()):
                    listed.versions[at] = images.versions[row]
                    stale[row], known[at] = False, True
        left_out = index.held_out.left_out(images.people, images.hashes)
        # An image of a given set that is again as it was packed is trained on again.
        drop = np.logical_or.reduce([stale, *left_out.values(), images.dropped & ~current])
        fresh = drop & ~images.dropped
        for row in np.flatnonzero(fresh & stale).tolist():
            (self.done.changed if exists[row] else self.done.gone).append(keys[row])
        self.done.left_out_since = int((fresh & ~stale).sum())
        self.stored_copies = {
            key: index.counts(left_out[key] & current & ~stale) for key in (COPIES, NEAR_COPIES)
        }
        # `_finish` does not count sets that are not given.
        for key, which in left_out.items():
            for number in images.sets[which & fresh & ~current].tolist():
                index.sets[number][key] += 1
        index.images = replace(images, dropped=drop)

    def _repair(self) -> None:
        """Decode the images of missing and broken shards again, in their places."""
        images, starts = self.index.images, self.index.starts()
        place_of = {version: i for i, version in enumerate(self.listed.versions.tolist())}
        for broken in broken_shards(self.out, self.index.shards):
            number = self.index.shards.index(broken)
            rows = range(starts[number], starts[number + 1])
            others = {self.index.sets[i].get("name") for i in images.sets[rows]}
            if others := others - {faces.name for faces in self.sets}:
                raise InputError(
                    f"{self.out / broken.file}: missing or broken, and has images of "
                    f"{', '.join(sorted(others))}; give all folders that the pack was made of, to "
                    "make it again"
                )
            _log.warning("%s: missing or broken; making it again", self.out / broken.file)
            pixels = np.zeros((broken.pictures, 3, self.size, self.size), np.uint8)
            at = {place_of.get(version): row for row, version in enumerate(images.versions[rows])}
            at.pop(None, None)  # gone: its pixels stay black
            places = np.array([*at], np.int64)
            for place, image, _ in self.listed.decoded(places, self.size, self.workers):
                if isinstance(image, BadImage):
                    images.dropped[rows[at[place]]] = True
                else:
                    pixels[at[place]] = image
            self.index.shards[number] = write_shard(
                self.out / broken.file, pixels, images.people[rows], images.hashes[rows]
            )
            self.done.repaired += 1

    def _pieces(self) -> list[np.ndarray]:
        """The places in `listed` of each shard to make, a person's images side by side."""
        listed = self.listed
        passed = [p.version for p in self.index.passed if p.version is not None]
        stored = [*self.index.images.versions.tolist(), *passed]
        new = np.flatnonzero(~np.isin(listed.versions, stored) & ~self.of_test_people)
        groups = np.where(listed.people < 0, listed.order, listed.people)[new]
        order = np.argsort(groups, kind="stable")
        most = max(1, SHARD_BYTES // (3 * self.size**2))
        pieces: list[np.ndarray] = []
        piece: list[int] = []
        ordered = zip(groups[order].tolist(), new[order].tolist(), strict=True)
        for _, group in groupby(ordered, itemgetter(0)):
            members = [place for _, place in group]
            if piece and len(piece) + len(members) > most:
                pieces.append(np.array(piece))
                piece = []
            piece += members
            # A person with more images than a shard holds fills several.
            while len(piece) > most:
                pieces.append(np.array(piece[:most]))
                piece = piece[most:]
        return [*pieces, np.array(piece)] if piece else pieces

    def _make(self, path: Path, piece: np.ndarray, bar: tqdm[Any]) -> _Made:
        """Decode the images of one shard, and write it with its rows beside it."""
        listed, held_out = self.listed, self.index.held_out
        images, places, hashes, passed = [], [], [], []
        for start in range(0, len(piece), _CHUNK):
            decoded = listed.decoded(piece[start : start + _CHUNK], self.size, self.workers)
            digests = np.frombuffer(b"".join(digest for *_, digest in decoded), np.uint8)
            digests = digests.reshape(-1, 32)
            copies = isin_rows(digests, held_out.hashes).tolist()
            near_copies = isin_rows(digests, held_out.near).tolist()
            for (at, picture, digest), copy, near in zip(decoded, copies, near_copies, strict=True):
                if isinstance(picture, BadImage):
                    passed.append(listed.passed(at, str(picture)))
                elif copy or near:
                    passed.append(listed.passed(at, COPY if copy else NEAR_COPY))
                else:
                    images.append(picture)
                    places.append(at)
                    hashes.append(digest)
            bar.update(len(decoded))
        rows = Images.of(
            listed.versions[places],
            listed.sets_of[places],
            listed.people[places],
            hashes,
            [listed.key(at) for at in places],
        )
        if not images:
            return None, rows, passed
        entry = write_shard(path, np.stack(images), rows.people, rows.hashes)
        about = json.dumps({"size": self.size, "entry": asdict(entry), "passed": passed})
        replace_file(_rows_file(path), safetensors.numpy.save(vars(rows), {"about": about}))
        return entry, rows, passed

    def _made_before(self, path: Path, piece: np.ndarray) -> _Made | None:
        """The shard that a killed packing made of these images."""
        try:
            with safetensors.safe_open(_rows_file(path), "numpy") as file:
                about = json.loads(file.metadata()["about"])
                rows = Images(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            passed = [Passed(*one) for one in about["passed"]]
            entry = ShardEntry(**about["entry"])
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError):
            return None
        versions = np.array([p.version for p in passed], np.int64)
        both = np.concatenate((rows.versions, versions))
        left_out = self.index.held_out.left_out(rows.people, rows.hashes)
        same = np.array_equal(np.sort(both), np.sort(self.listed.versions[piece]))
        if not same or about["size"] != self.size or any(map(np.any, left_out.values())):
            return None
        return None if broken_shards(self.out, [entry]) else (entry, rows, passed)

    def _finish(self) -> None:
        index, images, current = self.index, self.index.images, {faces.name for faces in self.sets}
        listed = set(self.listed.versions.tolist())
        passed = [p for p in index.passed if p.face_set not in current or p.version in listed]
        for faces in self.sets:
            passed += [Passed(faces.name, s.key, s.reason, None) for s in faces.skipped]
        index.passed = passed
        self.done.pictures = int((~images.dropped).sum())
        self.done.skipped = sum(p.is_skipped for p in passed)
        self.done.copies = sum(p.reason == COPY for p in passed)
        self.done.near_copies = sum(p.reason == NEAR_COPY for p in passed)
        if not self.done.pictures:
            bad = next((p for p in passed if p.is_skipped and p.version is not None), None)
            why = f" ({bad.key}: {bad.reason}); check that they are whole" if bad else ""
            end = "can be decoded" if bad else "is left to train on; give more faces"
            raise InputError(
                f"{', '.join(sorted(current))}: none of its {len(self.listed)} pictures {end}{why}"
            )
        for number, faces in zip(self.numbers, self.sets, strict=True):
            about = {
                "name": faces.name,
                "part": faces.part,
                "people": bool(faces.people),
                "identity_labels": bool(faces.people) and faces.identity_labels,
                "tests": faces.part == "all" and faces.has_test_part and index.held_out.is_empty,
                OF_PEOPLE: int(self.of_test_people[self.listed.sets_of == number].sum()),
            }
            for key, reason in ((COPIES, COPY), (NEAR_COPIES, NEAR_COPY)):
                passed_by = sum(p.face_set == faces.name and p.reason == reason for p in passed)
                about[key] = int(self.stored_copies[key][number]) + passed_by
            index.sets[number] = about
        for about, pictures in zip(index.sets, index.counts(~images.dropped).tolist(), strict=True):
            about["pictures"] = pictures
        kept = {index.write(self.out), *(entry.file for entry in index.shards)}
        for pattern in ("shard-*", "images-*"):
            for path in self.out.glob(pattern):
                if path.name not in kept:
                    path.unlink(missing_ok=True)


_Made = tuple[ShardEntry | None, Images, list[Passed]]
"""A shard, if any of its images can be used, its rows of the table, and the images passed over."""


def _rows_file(shard: Path) -> Path:
    """Where the rows of a shard are kept until the pack is done."""
    return shard.with_suffix(".rows")
