"""Shards: the files of a pack, each with some thousand images and their columns.

A shard is one safetensors file: never unpickled, read anywhere without this code, and with the
place of every image in its header, so that any image is one `pread` away. This keeps a run's peak
memory flat, where a memory map would count every page that it touched (see `packing.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file

SHARD_BYTES = 32 * 2**20
"""About how many bytes of images a shard holds."""

_KINDS: dict[str, Any] = {"U8": np.uint8, "I32": np.int32, "I64": np.int64}
_LONGEST_HEADER = 100 * 2**20


def pictures_a_shard(size: int) -> int:
    """The number of listed images of side `size` in one shard."""
    return max(1, SHARD_BYTES // (3 * size * size))


def number_of(name: str | bytes) -> int:
    """A number from 0 below 2^63 that stands for a name: the first bytes of its SHA-256.

    Numbers and not names are kept with every picture: they take 8 bytes, mean the same in every
    pack, and two of a million people share one with odds of 1 in 10 million.
    """
    data = name.encode(errors="surrogateescape") if isinstance(name, str) else name
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little") >> 1


@dataclass(frozen=True)
class Columns:
    """The columns of the n images of a shard.

    Attributes:
        versions: int64 [n], `number_of` set, key and stored version.
        sets: int32 [n], index into the pack's sets.
        people: int64 [n], `number_of` the person's name, or -1.
        hashes: uint8 [n, 32], SHA-256 of the bytes that the image was decoded from.
        keys: the images' keys in their sets.
    """

    versions: np.ndarray
    sets: np.ndarray
    people: np.ndarray
    hashes: np.ndarray
    keys: list[str]


@dataclass(frozen=True)
class ShardEntry:
    """A shard as the index of its pack lists it.

    Attributes:
        file: its name.
        pictures: how many it holds.
        bytes: its length.
        sha256: of the whole file, in hex.
        dropped: rows that are no longer trained on (their pictures have changed, gone, or turned
            up in a test part since).
        content: SHA-256 of the images, their people and their files' hashes, in hex: the same
            wherever the files lie and whatever their names and times are. None in old packs.
    """

    file: str
    pictures: int
    bytes: int
    sha256: str
    dropped: list[int] = field(default_factory=list)
    content: str | None = None


def write_shard(
    path: Path, images: np.ndarray, columns: Columns, about: dict[str, Any]
) -> ShardEntry:
    """Write a shard whole or not at all; the same content gives the same bytes.

    Args:
        images: uint8 [n, 3, S, S].
        about: more to store with it, anything that JSON can hold.

    Raises:
        InputError: the file can't be written, or the disk is full.
    """
    keys = [key.encode(errors="surrogateescape") for key in columns.keys]
    arrays = {
        "images": np.ascontiguousarray(images),
        "versions": columns.versions.astype(np.int64),
        "sets": columns.sets.astype(np.int32),
        "people": columns.people.astype(np.int64),
        "hashes": np.ascontiguousarray(columns.hashes),
        "keys": np.frombuffer(b"".join(keys), np.uint8),
        "key_ends": np.cumsum([len(key) for key in keys], dtype=np.int64),
    }
    content = _digest(arrays[name] for name in _CONTENT)
    rest = _digest((arrays[name] for name in _REST), json.dumps(about))
    # One entry only: the order of several, and with it the bytes, is not fixed.
    checks = {"content": content, "rest": rest}
    data = safetensors.numpy.save(arrays, {"about": json.dumps({**about, **checks})})
    replace_file(path, data)
    sha256 = hashlib.sha256(data).hexdigest()
    return ShardEntry(path.name, len(images), len(data), sha256, content=content)


_CONTENT = ("images", "people", "hashes")
_REST = ("versions", "sets", "keys", "key_ends")


def _digest(arrays: Iterable[np.ndarray], about: str = "") -> str:
    digest = hashlib.sha256(about.encode())
    for array in arrays:
        digest.update(str(array.shape).encode())
        digest.update(array.data)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Shard:
    """An open shard.

    Args:
        path: the file.

    Attributes:
        handle: the file's descriptor, for `os.preadv`.
        start: the first image's first byte in the file.
        pictures, size: the number of images, and their side.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it is not a whole shard.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle = os.open(regular(path), os.O_RDONLY)
        try:
            self._header, self._data = self._read_header()
            kind, shape, (begin, _) = self._field("images")
            if kind is not np.uint8 or len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
                raise ValueError("its pictures are no uint8 [n, 3, S, S]")
            longest = max(int(self._header[name]["data_offsets"][1]) for name in self._names())
            if self._data + longest > os.fstat(self.handle).st_size:
                raise ValueError("it is cut short")
        except (ValueError, KeyError, TypeError, OSError) as error:
            os.close(self.handle)
            self.handle = -1
            raise InputError(f"{path}: a broken shard ({error}); {MEND}") from error
        self.pictures, self.size = shape[0], shape[2]
        self.start = self._data + begin

    def _read_header(self) -> tuple[dict[str, Any], int]:
        length = int.from_bytes(os.pread(self.handle, 8, 0), "little")
        if not 2 <= length <= _LONGEST_HEADER:
            raise ValueError("no safetensors file")
        return json.loads(os.pread(self.handle, length, 8)), 8 + length

    def _names(self) -> list[str]:
        return [name for name in self._header if name != "__metadata__"]

    def _field(self, name: str) -> tuple[Any, list[int], list[int]]:
        entry = self._header[name]
        kind = _KINDS[entry["dtype"]]
        begin, end = entry["data_offsets"]
        if begin < 0 or end - begin != np.dtype(kind).itemsize * int(np.prod(entry["shape"])):
            raise ValueError(f"its {name} have another length than its header says")
        return kind, entry["shape"], [begin, end]

    def column(self, name: str) -> np.ndarray:
        """One of the columns as `Columns` has them; `keys` as bytes, with `key_ends`.

        Raises:
            InputError: the shard lacks it.
        """
        try:
            kind, shape, (begin, end) = self._field(name)
            data = os.pread(self.handle, end - begin, self._data + begin)
            return np.frombuffer(data, kind).reshape(shape)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{self.path}: a broken shard ({error!r}); {MEND}") from error

    def keys(self) -> list[str]:
        """The key of each picture."""
        data, ends = self.column("keys").tobytes(), self.column("key_ends").tolist()
        return [
            data[begin:end].decode(errors="surrogateescape")
            for begin, end in zip([0, *ends[:-1]], ends, strict=True)
        ]

    def about(self) -> dict[str, Any]:
        """The `about` of `write_shard`."""
        about: dict[str, Any] = json.loads(self._header["__metadata__"]["about"])
        return about

    def check(self) -> str:
        """Compare the shard with its own hashes; returns its `content`.

        Raises:
            InputError: it has changed.
            KeyError: it is of an older version, without hashes.
        """
        about = self.about()
        content, rest = about.pop("content"), about.pop("rest")
        columns = {name: self.column(name) for name in (*_CONTENT[1:], *_REST)}
        content_now = _digest((self.images(), *(columns[name] for name in _CONTENT[1:])))
        rest_now = _digest((columns[name] for name in _REST), json.dumps(about))
        if (content_now, rest_now) != (content, rest):
            raise InputError(f"{self.path}: a broken shard (it was changed); {MEND}")
        return content_now

    def check_columns(self, sets: int) -> None:
        """Compare the columns' lengths with the number of images.

        Args:
            sets: the number of face sets of the pack.

        Raises:
            InputError: a column has another length, or names a face set that does not exist.
        """
        n = self.pictures
        shapes = {"versions": (n,), "sets": (n,), "people": (n,), "hashes": (n, 32)}
        columns = {name: self.column(name) for name in shapes}
        wrong = [name for name, shape in shapes.items() if columns[name].shape != shape]
        of_sets = columns["sets"]
        if wrong or (n and not 0 <= of_sets.min() <= of_sets.max() < sets):
            name = wrong[0] if wrong else "sets"
            raise InputError(f"{self.path}: a broken shard (its {name} don't fit it); {MEND}")

    def images(self) -> np.ndarray:
        """All images, uint8 [n, 3, S, S]."""
        images = np.empty((self.pictures, 3, self.size, self.size), np.uint8)
        view = images.reshape(-1).data
        done = 0
        # One call reads 2 GiB at most.
        while done < len(view):
            read = os.preadv(self.handle, [view[done : done + 2**30]], self.start + done)
            if read == 0:
                raise InputError(f"{self.path}: a broken shard (it is cut short); {MEND}")
            done += read
        return images

    def close(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1

    def __enter__(self) -> Shard:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


MEND = (
    "copy it again from where the pack came from, or delete it and pack its pictures again "
    "(`ssl-faces pack`, or `ssl-faces fit` where it lies in the cache)"
)
"""What to do with a shard that can't be used."""
