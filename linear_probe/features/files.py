"""Features on disk: complete ones, memory-mapped, and finished chunks of those being computed."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ssl_faces import InputError
from ssl_faces.common.files import regular, replace_file, write_failure
from ssl_faces.data import Skipped

_log = logging.getLogger(__name__)
FEATURES_FOLDER = "features"
"""In the folder of a run."""
PIECES_SUFFIX = ".pieces"
_BROKEN = (OSError, SafetensorError, ValueError, KeyError, TypeError)


def space_name(space: str) -> str:
    """A feature space's name as part of a file's; no two spaces have the same."""
    readable = "".join(c if c.isalnum() or c == "_" else "_" for c in space)
    if readable == space:
        return space
    # Else `a/b` and `a.b` would be one file.
    return f"{readable[:40]}-{hashlib.sha256(space.encode()).hexdigest()[:8]}"


def write_features(
    path: Path,
    values: Tensor,
    records: Sequence[int],
    skipped: Sequence[Skipped],
    source: str = "",
    keys: Sequence[str] = (),
) -> None:
    """Write the features of one space; `path` is never half-written.

    Args:
        values: float32 [N, D].
        records: N, which record of the face set each row is of.
        skipped: images without a row.
        source, keys: fingerprint of the source and keys of the N images, for `find_features`.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    # ASCII: file names may hold bytes that are no text.
    about = json.dumps({"skipped": [*map(tuple, skipped)], "source": source, "keys": [*keys]})
    tensors = {"features": values, "records": torch.tensor(records, dtype=torch.int64)}
    replace_file(path, save(tensors, metadata={"about": about}))


def read_features(path: Path) -> tuple[Tensor, Tensor]:
    """Features float32 [N, D] and records int64 [N], memory-mapped: the system can reclaim them.
    Raises InputError: the file can't be read."""
    try:
        with safe_open(regular(path), framework="pt") as file:
            return file.get_tensor("features"), file.get_tensor("records")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: can't be read ({error}); delete it, run again") from error


def find_features(
    folder: Path, fingerprint: str, space: str, keys: Sequence[str]
) -> np.ndarray | None:
    """Features float32 [N, D] of the images with these keys; None where some are missing.

    Args:
        folder: the run's folder of features.
        fingerprint, space: as in `Record`.

    Raises:
        InputError: the features' file can't be read.
    """
    for path in sorted(folder.glob(f"*-{space_name(space)}.safetensors")):
        about = _about(path)
        if fingerprint and about.get("source", "").startswith(fingerprint):
            row_of = {key: row for row, key in enumerate(about["keys"])}
            rows = [row_of.get(key, -1) for key in keys]
            if min(rows) >= 0:
                return read_features(path)[0][rows].float().numpy()
    return None


def _about(path: Path) -> dict[str, Any]:
    """The facts that `write_features` wrote; nothing if the file is damaged."""
    try:
        with safe_open(regular(path), framework="pt") as file:
            return dict(json.loads(file.metadata()["about"]))
    except _BROKEN:
        return {}


def read_skipped(path: Path) -> list[Skipped]:
    """Images that have no row in a file that `has_features`."""
    return [Skipped(*item) for item in _about(path)["skipped"]]


def has_features(path: Path, dim: int, count: int) -> bool:
    """Whether `path` is a whole file of features of length `dim`, of `count` images."""
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


class Chunks:
    """The finished chunks of an extraction: one file for each chunk and space, in a folder for each
    source and set of images; `dims`: length of the features of each space."""

    def __init__(self, folder: Path, dims: Mapping[str, int]) -> None:
        self.folder = folder
        self.dims = dims

    def has(self, images: range) -> bool:
        """Whether every space of this chunk is there and whole."""
        return all(has_features(self.path(images, s), d, len(images)) for s, d in self.dims.items())

    def join(self, chunks: Sequence[range], space: str) -> tuple[Tensor, list[int], list[Skipped]]:
        """All chunks of a space: features float32 [N, D], N records and the skipped images."""
        paths = [self.path(images, space) for images in chunks]
        values, records = zip(*(read_features(path) for path in paths), strict=True)
        skipped = [item for path in paths for item in read_skipped(path)]
        return torch.cat(values), torch.cat(records).tolist(), skipped

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, images: range, space: str) -> Path:
        return self.folder / f"{images.start}-{images.stop}-{space_name(space)}.safetensors"


@contextmanager
def lock(path: Path, wait: bool) -> Iterator[bool]:
    """Keep other processes from computing the same; whether the lock was acquired.

    It is the system's lock on an open file, which ends with its process: a dead one blocks nobody.
    The file is removed afterwards.

    Args:
        wait: until another process releases it; else an occupied lock is not acquired.

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
        # While it is held. A waiting process acquires a file without a name and may then share the
        # work with a third, which only costs time: files are replaced whole.
        with suppress(OSError):
            path.unlink()
        held.release()
