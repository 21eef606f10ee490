"""Packs: folders, here or in an object store, with an index and the shards that it lists."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file
from ssl_faces.data.faces import Skipped
from ssl_faces.data.store.fetching import RemoteShards, fetch_bytes
from ssl_faces.data.store.held_out import HeldOut, dump_held_out, parse_held_out
from ssl_faces.data.store.shards import MEND, Shard, ShardEntry, file_hash

__all__ = ["INDEX", "TESTS", "HeldOut", "Index", "Pack", "Passed", "dump_held_out"]

_log = logging.getLogger(__name__)

INDEX = "index.json"
TESTS = "tests.safetensors"
FORMAT = 2
"""Raise it when older packs can't be read any more, or when the same images would be packed to
other pixels."""


_LARGEST_SHARD = 2**30

COPY, NEAR_COPY = "", "near-copy of a test image"
"""Reasons of images that are left out although they can be used."""


def default_cache_root() -> Path:
    """Where packed faces are kept: `$SSL_FACES_CACHE`, else `~/.cache/ssl-faces/packed`."""
    root = os.environ.get("SSL_FACES_CACHE")
    return Path(root).expanduser() if root else Path.home() / ".cache" / "ssl-faces" / "packed"


@dataclass(frozen=True)
class Passed:
    """An image that was listed and not packed.

    Attributes:
        face_set, key: which.
        reason: why it could not be used, or `COPY` or `NEAR_COPY`.
        version: as in `Columns`; None if the listing itself skipped it.
    """

    face_set: str
    key: str
    reason: str
    version: int | None

    @property
    def is_skipped(self) -> bool:
        """Whether it could not be used."""
        return self.reason not in (COPY, NEAR_COPY)


@dataclass
class Index:
    """The contents of a pack, `index.json`.

    Attributes:
        size: side of the images.
        sets: for each face set a dict: `name`, `part`, `people` (whether any are known), `tests`
            (whether test images are among them) and the counts `left_out_as_…`.
        shards: in their order.
        passed: the images that were listed and not packed.
    """

    size: int
    sets: list[dict[str, Any]] = field(default_factory=list)
    shards: list[ShardEntry] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)

    def dump(self) -> bytes:
        fields = {"format": FORMAT, **asdict(self)}
        return (json.dumps({**fields, "check": _check_of(fields)}, indent=1) + "\n").encode()

    @staticmethod
    def read(path: Path) -> Index:
        """Read an index file.

        Raises:
            InputError: it can't be read, or is broken or of another format.
        """
        try:
            return Index.parse(regular(path).read_bytes(), str(path))
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror}); {MEND}") from error

    @staticmethod
    def parse(data: bytes, where: str) -> Index:
        """Read an index.

        Raises:
            InputError: it is broken or of another format.
        """
        try:
            fields = json.loads(data)
            if fields["format"] != FORMAT:
                raise InputError(
                    f"{where}: a pack of format {fields['format']}, where {FORMAT} is read here; "
                    "pack the pictures again to another folder"
                )
            # Older packs have none.
            if fields.pop("check", None) not in (None, _check_of(fields)):
                raise ValueError("it was changed")
            index = Index(
                int(fields["size"]),
                [dict(about) for about in fields["sets"]],
                [ShardEntry(**entry) for entry in fields["shards"]],
                [Passed(**passed) for passed in fields["passed"]],
            )
            for entry in index.shards:
                # Names from outside: they must not lead out of the pack's folder.
                if os.path.basename(entry.file) != entry.file:
                    raise ValueError(f"no name of a shard: {entry.file!r}")
                _check_counts(entry, index.size)
            if len({entry.file for entry in index.shards}) < len(index.shards):
                raise ValueError("a shard is listed twice")
            return index
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{where}: a broken index of a pack ({error!r}); {MEND}") from error


def _check_of(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def _check_counts(entry: ShardEntry, size: int) -> None:
    """Memory follows from an index's numbers: raises ValueError for impossible ones."""
    rows = set(entry.dropped)
    if (
        size < 1
        or not isinstance(entry.pictures, int)
        or not 0 <= 3 * size * size * entry.pictures <= entry.bytes <= _LARGEST_SHARD
        or len(rows) != len(entry.dropped)
        or not rows <= set(range(entry.pictures))
    ):
        raise ValueError(f"{entry.file} can't have so many pictures or bytes")


class Pack:
    """An opened pack. Its shards' lengths are checked at once where they lie on this machine.

    Args:
        place: a folder, or an fsspec URL (`s3://bucket/pack`).
        cache: where fetched shards and the list of verified ones are kept.
        cache_bytes: most bytes of fetched shards to keep; None: all.

    Attributes:
        index: its contents.
        held_out: the test people and images that were left out.
        name: changes with its contents.

    Raises:
        InputError: there is no pack, or it or a shard of it is broken.
    """

    def __init__(
        self, place: str | Path, cache: Path | None = None, cache_bytes: int | None = None
    ) -> None:
        self.place = str(place)
        self.cache = cache or default_cache_root()
        self.remote = (
            RemoteShards(self.place, self.cache / "fetched", cache_bytes)
            if "://" in self.place
            else None
        )
        self.folder = Path(self.place).expanduser()
        data = self._read(INDEX)
        self.index = Index.parse(data, f"{self.place}/{INDEX}")
        self.size = self.index.size
        self.held_out = parse_held_out(self._read(TESTS), f"{self.place}/{TESTS}")
        self.name = hashlib.sha256(data).hexdigest()[:16]
        if self.remote is None:
            for entry in self.index.shards:
                check_length(self.folder, entry)

    def _read(self, file: str) -> bytes:
        if self.remote is not None:
            return fetch_bytes(f"{self.place.rstrip('/')}/{file}")
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; give one made by `ssl-faces pack`")
        try:
            return regular(self.folder / file).read_bytes()
        except OSError as error:
            raise InputError(
                f"{self.folder / file}: can't be read ({error.strerror}), so that this is no whole "
                "pack; if it was being packed, run the same `ssl-faces pack` again: it resumes"
            ) from error

    def path(self, number: int) -> Path:
        """The file of shard `number`, fetched first where it must be.

        Raises:
            InputError: it can't be fetched, or differs from the index.
        """
        entry = self.index.shards[number]
        return self.folder / entry.file if self.remote is None else self.remote.path(entry)

    def open(self, number: int) -> Shard:
        """Shard `number`, open. Its length and size are compared with the index.

        Raises:
            InputError: as of `path`, or it is broken.
        """
        entry = self.index.shards[number]
        for _ in range(100):
            try:
                shard = Shard(self.path(number))
            except FileNotFoundError as error:
                if self.remote is not None:
                    continue  # another process made room between fetching and opening
                raise _missing(self.folder / entry.file) from error
            if (shard.pictures, shard.size) != (entry.pictures, self.size):
                shard.close()
                raise InputError(f"{shard.path}: not the shard that the index lists; {MEND}")
            return shard
        raise InputError(
            f"{self.place}/{entry.file}: always gone from the cache again; raise data.cache_gb"
        )

    def kept(self, number: int) -> np.ndarray:
        """int32: the rows of shard `number` that the pack did not drop."""
        entry = self.index.shards[number]
        rows = np.arange(entry.pictures, dtype=np.int32)
        return np.delete(rows, entry.dropped) if entry.dropped else rows

    def skipped(self) -> list[tuple[str, Skipped]]:
        """(face set's name, image) of every image that could not be used."""
        passed = (p for p in self.index.passed if p.is_skipped)
        return [(p.face_set, Skipped(p.key, p.reason)) for p in passed]

    def fetch(self) -> None:
        """Fetch all shards that are not here.

        Raises:
            InputError: as of `path`.
        """
        if self.remote is None:
            return
        count = len(self.index.shards)
        self.remote.ahead(self.index.shards)
        for number in tqdm(range(count), desc=f"fetching {self.place}", unit="shards"):
            self.path(number)

    def verify(self, again: bool = False) -> int:
        """Compare shards on this machine with the index: SHA-256, columns and counts.

        A verified shard is not read again until its time or length changes. Fetched shards are
        compared as they are fetched.

        Args:
            again: compare them all, and the index's counts of each face set too.

        Returns:
            How many shards were read.

        Raises:
            InputError: a shard is missing or differs from the index.
        """
        if self.remote is not None:
            return 0
        known = {} if again else self._verified()
        due = [e for e in self.index.shards if known.get(e.file) != self._state(e)]
        files = {entry.file for entry in due}
        broken = files - {entry.file for entry in whole_shards(self.folder, due)}
        for entry in due:
            if entry.file in broken:
                raise InputError(
                    f"{self.folder / entry.file}: its SHA-256 is not the index's, a broken shard; "
                    f"{MEND}"
                )
        pictures = np.zeros(len(self.index.sets), np.int64)
        for number, entry in enumerate(self.index.shards):
            if entry.file in files:
                with self.open(number) as shard:
                    shard.check_columns(len(pictures))
                    sets = shard.column("sets")[self.kept(number)]
                pictures += np.bincount(sets, minlength=len(pictures))
        if again:
            for about, count in zip(self.index.sets, pictures.tolist(), strict=True):
                if about.get("pictures") != count:
                    raise InputError(
                        f"{self.place}/{INDEX}: lists {about.get('pictures')} pictures of "
                        f"{about.get('name')}, and the shards hold {count:,}; {MEND}"
                    )
        if due:
            self.remember_verified()
        return len(due)

    def remember_verified(self) -> None:
        """Note all shards as verified."""
        states = {entry.file: self._state(entry) for entry in self.index.shards}
        try:
            replace_file(self._verified_file(), json.dumps(states).encode())
        except InputError as error:
            _log.debug("shards will be verified at the next start too: %s", error)

    def _state(self, entry: ShardEntry) -> list[Any]:
        try:
            status = (self.folder / entry.file).stat()
        except OSError as error:
            raise _missing(self.folder / entry.file) from error
        return [entry.sha256, status.st_size, status.st_mtime_ns, status.st_ino]

    def _verified(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._verified_file().read_bytes()))
        except (OSError, ValueError, TypeError):
            return {}

    def _verified_file(self) -> Path:
        where = hashlib.sha256(os.fsencode(self.folder.absolute())).hexdigest()[:16]
        return self.cache / "verified" / f"{where}.json"


def check_length(folder: Path, entry: ShardEntry) -> None:
    """Compare a shard's length with the index's.

    Raises:
        InputError: it is missing, or has another length.
    """
    path = folder / entry.file
    try:
        length = path.stat().st_size
    except OSError as error:
        raise _missing(path) from error
    if length != entry.bytes:
        raise InputError(
            f"{path}: has {length:,} bytes, and {entry.bytes:,} by the index, a broken shard; "
            f"{MEND}"
        )


def whole_shards(folder: Path, shards: Sequence[ShardEntry]) -> list[ShardEntry]:
    """Those that exist with the length and the SHA-256 of the index."""

    def is_whole(entry: ShardEntry) -> bool:
        try:
            check_length(folder, entry)
            return file_hash(folder / entry.file) == entry.sha256
        except (InputError, OSError):
            return False

    few = len(shards) < 20
    with (
        ThreadPoolExecutor(4) as pool,
        tqdm(total=len(shards), desc="verifying", unit="shards", disable=few) as bar,
    ):
        kept = []
        for entry, whole in zip(shards, pool.map(is_whole, shards), strict=True):
            kept += [entry] if whole else []
            bar.update()
    return kept


def _missing(path: Path) -> InputError:
    return InputError(f"{path}: this shard of the pack is missing; {MEND}")
