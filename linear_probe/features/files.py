"""Features on disk: whole ones, memory-mapped, and the finished pieces of those being computed."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ssl_faces import InputError
from ssl_faces.common.files import regular, replace_file, write_failure
from ssl_faces.data import Skipped

_log = logging.getLogger(__name__)
PIECES_SUFFIX = ".pieces"
LISTING_SUFFIX = "-listing.json"
_BROKEN = (OSError, SafetensorError, ValueError, KeyError, TypeError)


class Span(NamedTuple):
    """A run of pictures, from `start` up to and without `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def spans(count: int, size: int) -> list[Span]:
    """`count` pictures cut into runs of `size`, the last maybe shorter."""
    return [Span(start, min(start + size, count)) for start in range(0, count, size)]


def space_name(space: str) -> str:
    """A feature space's name as part of a file's; no two spaces have the same."""
    readable = "".join(c if c.isalnum() or c == "_" else "_" for c in space)
    if readable == space:
        return space
    # Else `a/b` and `a.b` would be one file.
    return f"{readable[:40]}-{hashlib.sha256(space.encode()).hexdigest()[:8]}"


def write_features(
    path: Path, values: Tensor, records: Sequence[int], skipped: Sequence[Skipped]
) -> None:
    """Write the features of one space; `path` is never half-written.

    Args:
        values: float32 [N, D].
        records: N, which record of the face set each row is of.
        skipped: pictures without a row.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    about = json.dumps({"skipped": [tuple(item) for item in skipped]})
    tensors = {"features": values, "records": torch.tensor(records, dtype=torch.int64)}
    replace_file(path, save(tensors, metadata={"about": about}))


def read_features(path: Path) -> tuple[Tensor, Tensor]:
    """Features float32 [N, D] and records int64 [N].

    Both are memory-mapped: they are fetched from the disk as they are used, and take no memory
    that the system can't have back.

    Raises:
        InputError: the file can't be read.
    """
    try:
        with safe_open(regular(path), framework="pt") as file:
            return file.get_tensor("features"), file.get_tensor("records")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read ({error}); delete it, run again") from error


def read_skipped(path: Path) -> list[Skipped]:
    """Pictures that have no row in a file that `has_features`."""
    with safe_open(regular(path), framework="pt") as file:
        return [Skipped(*item) for item in json.loads(file.metadata()["about"])["skipped"]]


def has_features(path: Path, dim: int, count: int) -> bool:
    """Whether `path` is a whole file of features of length `dim`, of `count` pictures."""
    if not path.exists():
        return False
    try:
        with safe_open(regular(path), framework="pt") as file:
            rows, columns = file.get_slice("features").get_shape()
            whole = columns == dim and [rows] == file.get_slice("records").get_shape()
            skipped = json.loads(file.metadata()["about"])["skipped"]
        whole = whole and rows + len(skipped) == count
    except _BROKEN:
        whole = False
    if not whole:
        _log.warning("%s is damaged: its features are computed anew", path)
    return whole


class Pieces:
    """What an extraction has finished so far: one file for each piece and space.

    Args:
        folder: for them; one for each source and set of pictures, named by their content.
        dims: length of the features of each space.
    """

    def __init__(self, folder: Path, dims: Mapping[str, int]) -> None:
        self.folder = folder
        self.dims = dims

    def has(self, span: Span) -> bool:
        """Whether every space of this piece is there and whole."""
        return all(has_features(self._path(span, s), d, span.size) for s, d in self.dims.items())

    def write(
        self,
        span: Span,
        values: Mapping[str, Tensor],
        records: Sequence[int],
        skipped: Sequence[Skipped],
    ) -> None:
        """Keep a piece; `values` are float32 [N, D] by space.

        Raises:
            InputError: the folder can't be written, or the disk is full.
        """
        for space in self.dims:
            write_features(self._path(span, space), values[space], records, skipped)

    def join(self, pieces: Sequence[Span], space: str) -> tuple[Tensor, list[int], list[Skipped]]:
        """All pieces of a space: features float32 [N, D], N records and what was skipped."""
        paths = [self._path(span, space) for span in pieces]
        parts = [read_features(path) for path in paths]
        records = torch.cat([part[1] for part in parts]).tolist()
        return (
            torch.cat([part[0] for part in parts]),
            records,
            [item for path in paths for item in read_skipped(path)],
        )

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, span: Span, space: str) -> Path:
        return self.folder / f"{span.start}-{span.stop}-{space_name(space)}.safetensors"


@contextmanager
def lock(path: Path, wait: bool) -> Iterator[bool]:
    """Keep other processes from computing the same; whether it was got.

    It is the system's lock on an open file, which ends with the process that holds it, however
    that ends: a dead one blocks nobody.

    Args:
        path: the lock's file, made where it is missing and removed afterwards.
        wait: until the one who has it is done; else an occupied lock is not got.

    Raises:
        InputError: the folder can't be written.
    """
    held = FileLock(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise InputError(f"{path.parent}: {write_failure(error)}") from error
    try:
        yield True
    finally:
        # While it is held. Who waits for it gets the lock of a file without a name and may then
        # share the work with a third, which costs time and nothing else: files are replaced whole.
        with suppress(OSError):
            path.unlink()
        held.release()
