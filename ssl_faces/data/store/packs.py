"""Packs: folders, here or in an object store, with images that were decoded once.

A pack is `index.json` (face sets, shards, skipped images), `images-HASH.safetensors` (a row for
each packed image, and the test people and images that were left out), and shards, files of numpy
with uint8 [n, 3, S, S]. Nothing is unpickled.

Shards are memory-mapped. By number, which partners and resuming need, they give 510,000 images of
64 px a second of CPU time (batches of 512), and `pread` of each image 310,000; litdata gave 400 a
second, and webdataset has no access by number. Mapped pages count as resident memory, but the
system takes them back when it needs room. A shard that is cut short under a run ends it by SIGBUS.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import file_hash, regular, replace_file
from ssl_faces.data.faces import Skipped
from ssl_faces.data.store.fetching import RemoteShards, fetch_bytes
from ssl_faces.data.store.index import MEND, Index, ShardEntry

_log = logging.getLogger(__name__)


def default_cache_root() -> Path:
    """Where packed faces are kept: `$SSL_FACES_CACHE`, else `~/.cache/ssl-faces/packed`."""
    root = os.environ.get("SSL_FACES_CACHE")
    return Path(root).expanduser() if root else Path.home() / ".cache" / "ssl-faces" / "packed"


def write_shard(
    path: Path, images: np.ndarray, people: np.ndarray, hashes: np.ndarray
) -> ShardEntry:
    """Write a shard of images uint8 [n, 3, S, S] whole or not at all; the same images give the same
    bytes. Raises InputError: the file can't be written, or the disk is full."""
    stream = io.BytesIO()
    np.save(stream, images, allow_pickle=False)
    data = stream.getbuffer()
    replace_file(path, data)
    content = hashlib.sha256()
    for array in (images, people, hashes):
        content.update(str(array.shape).encode())
        content.update(np.ascontiguousarray(array).data)
    sha256 = hashlib.sha256(data).hexdigest()
    return ShardEntry(path.name, len(images), len(data), sha256, content.hexdigest())


class Pack:
    """An opened pack. Its shards' lengths are checked at once where they lie on this machine.

    Args:
        place: a folder, or an fsspec URL (`s3://bucket/pack`).
        cache: where fetched shards and the list of verified ones are kept.
        cache_bytes: most bytes of fetched shards to keep; None: all.

    Attributes:
        index: its contents.
        name: changes with its contents.

    Raises:
        InputError: there is no pack, or it or a shard of it is broken.
    """

    def __init__(
        self, place: str | Path, cache: Path | None = None, cache_bytes: int | None = None
    ) -> None:
        self.place = str(place)
        self.cache = cache or default_cache_root()
        self.remote: RemoteShards | None = None
        self.folder = Path(self.place).expanduser()
        url = self.place.rstrip("/")
        if "://" in self.place:
            self.remote = RemoteShards(url, self.cache / "fetched", cache_bytes)
            self.index = Index.read(url, lambda file: fetch_bytes(f"{url}/{file}"))
        elif not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; give one made by `ssl-faces pack`")
        else:
            self.index = Index.read(self.folder)
            for entry in self.index.shards:
                check_length(self.folder, entry)
        self.size, self.held_out = self.index.size, self.index.held_out
        self.name = self.index.check[:16]

    def path(self, number: int) -> Path:
        """The file of shard `number`, fetched first where it must be. Raises InputError: it can't
        be fetched, or differs from the index."""
        entry = self.index.shards[number]
        if self.remote is not None:
            return self.remote.path(entry.file, entry.sha256)
        return self.folder / entry.file

    def ahead(self, numbers: Iterable[int]) -> None:
        """Begin to fetch these shards, where they must be."""
        if self.remote is not None:
            entries = [self.index.shards[number] for number in numbers]
            self.remote.ahead([(entry.file, entry.sha256) for entry in entries])

    def open(self, number: int) -> np.ndarray:
        """The images of shard `number`, mapped: uint8 [n, 3, S, S]. Raises InputError: as of
        `path`, or it is broken."""
        entry = self.index.shards[number]
        for _ in range(100):
            path = self.path(number)
            try:
                images = np.lib.format.open_memmap(regular(path), mode="r")
                if images.dtype != np.uint8 or images.shape != (
                    *(entry.pictures, 3),
                    *(self.size, self.size),
                ):
                    raise ValueError("not the shard that the index lists")
                return np.asarray(images)
            except FileNotFoundError as error:
                if self.remote is None:
                    raise _missing(path) from error
                # Another process made room between fetching and opening.
            except (ValueError, OSError) as error:
                raise InputError(f"{path}: a broken shard ({error}); {MEND}") from error
        raise InputError(
            f"{self.place}/{entry.file}: always gone from the cache again; raise data.cache_gb"
        )

    def skipped(self) -> list[tuple[str, Skipped]]:
        """(face set's name, image) of every image that could not be used."""
        passed = (p for p in self.index.passed if p.is_skipped)
        return [(p.face_set, Skipped(p.key, p.reason)) for p in passed]

    def fetch(self) -> None:
        """Fetch all shards that are not here. Raises InputError: as of `path`."""
        if self.remote is not None:
            numbers = range(len(self.index.shards))
            self.ahead(numbers)
            for number in tqdm(numbers, desc=f"fetching {self.place}", unit="shards"):
                self.path(number)

    def verify(self, again: bool = False) -> int:
        """Compare the SHA-256 of the shards on this machine with the index; returns how many were
        read. Raises InputError: a shard is missing or differs from the index.

        A verified shard is not read again until its time or length changes, without `again`.
        Fetched shards are compared as they are fetched.
        """
        if self.remote is not None:
            return 0
        known = {} if again else self._verified()
        due = [e for e in self.index.shards if known.get(e.file) != self._state(e)]
        if broken := broken_shards(self.folder, due):
            raise InputError(
                f"{self.folder / broken[0].file}: its SHA-256 is not the index's, a broken shard; "
                f"{MEND}"
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
        status = check_length(self.folder, entry)
        return [entry.sha256, status.st_size, status.st_mtime_ns, status.st_ino]

    def _verified(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._verified_file().read_bytes()))
        except (OSError, ValueError, TypeError):
            return {}

    def _verified_file(self) -> Path:
        where = hashlib.sha256(os.fsencode(self.folder.absolute())).hexdigest()[:16]
        return self.cache / "verified" / f"{where}.json"


def check_length(folder: Path, entry: ShardEntry) -> os.stat_result:
    """The status of a shard's file. Raises InputError: it is missing, or has another length than in
    the index."""
    path = folder / entry.file
    try:
        status = path.stat()
    except OSError as error:
        raise _missing(path) from error
    if status.st_size != entry.bytes:
        raise InputError(
            f"{path}: has {status.st_size:,} bytes, and {entry.bytes:,} by the index, a broken "
            f"shard; {MEND}"
        )
    return status


def broken_shards(folder: Path, shards: Sequence[ShardEntry]) -> list[ShardEntry]:
    """Those that are missing, or without the length and SHA-256 of the index."""

    def is_whole(entry: ShardEntry) -> bool:
        try:
            check_length(folder, entry)
            return file_hash(folder / entry.file) == entry.sha256
        except (InputError, OSError):
            return False

    with ThreadPoolExecutor(4) as pool:
        bar = tqdm(shards, desc="verifying", unit="shards", disable=len(shards) < 20)
        return [e for e, whole in zip(bar, pool.map(is_whole, shards), strict=True) if not whole]


def _missing(path: Path) -> InputError:
    return InputError(f"{path}: this shard of the pack is missing; {MEND}")
