"""Which pictures and sources a run's features are of, so that a report finds them without the data.

The feature cache looks its files up by the hashes of weights and pictures; a listing keeps those
hashes and the pictures' keys beside the features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from linear_probe.features.files import LISTING_SUFFIX, lock
from linear_probe.features.frozen import FeatureCache, Features, KeyedSource, Pictures, Source
from linear_probe.records.record import Record
from ssl_faces.common.files import regular, replace_file
from ssl_faces.data import FaceSet
from ssl_faces.data.faces import FaceRecord


class _StoredSource:
    """What `FeatureCache.read` must know of a source."""

    def __init__(self, name: str, fingerprint: str, input_size: int, dims: dict[str, int]) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.input_size = input_size
        self.dims = dims

    def to(self, device: str) -> None:
        del device

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        raise TypeError("only what is in the cache can be read")


class _StoredPictures(Pictures):
    """What `FeatureCache.read` must know of pictures, without the pictures."""

    def __init__(self, name: str, fingerprint: str, keys: list[str]) -> None:
        records = [FaceRecord(key, b"") for key in keys]
        self.faces = FaceSet(name, "all", records)
        self.indices = np.arange(len(keys))
        self.hashes = [b""] * len(keys)
        self.__dict__["fingerprint"] = fingerprint  # in the place of the cached property


def write_listing(folder: Path, pictures: Pictures, sources: Sequence[Source]) -> None:
    """Note in the features' `folder` that it has those of these pictures from these sources.

    Raises:
        InputError: the folder can't be written, or the disk is full.
    """
    short = hashlib.sha256(pictures.fingerprint.encode()).hexdigest()[:20]
    path = folder / f"{pictures.faces.name}-{short}{LISTING_SUFFIX}"
    # Others may add theirs at the same time.
    with lock(path.with_suffix(".lock"), wait=True):
        _add_to(path, pictures, sources)


def _add_to(path: Path, pictures: Pictures, sources: Sequence[Source]) -> None:
    earlier = _read(path) or {"sources": []}
    listed = {one["fingerprint"]: one for one in earlier["sources"]} | {
        source.fingerprint: {
            "fingerprint": source.fingerprint,
            "input_size": getattr(source, "input_size", 0),
            "dims": source.dims,
        }
        for source in sources
        if not isinstance(source, KeyedSource)  # those features are in no cache
    }
    listing = {
        "faces": pictures.faces.name,
        "pictures": pictures.fingerprint,
        "indices": pictures.indices.tolist(),
        "keys": [pictures.faces.records[i].key for i in pictures.indices],
        "sources": list(listed.values()),
    }
    # ASCII: file names may hold bytes that are no text.
    replace_file(path, json.dumps(listing).encode())


def find_features(folder: Path, record: Record, keys: Sequence[str]) -> np.ndarray | None:
    """Features float32 [N, D] that a record's probe saw of the pictures with these keys.

    Args:
        folder: the run's folder of features.

    Returns:
        None where they aren't all there.

    Raises:
        InputError: the features' file can't be read.
    """
    wanted = set(keys)
    for path in sorted(folder.glob(f"*{LISTING_SUFFIX}")):
        listing = _read(path)
        if listing is None or not record.fingerprint:
            continue
        number = dict(zip(listing["keys"], listing["indices"], strict=True))
        for source in listing["sources"]:
            if source["fingerprint"].startswith(record.fingerprint) and wanted <= number.keys():
                features = _stored(folder, listing, source, record.feature_space)
                if features is None:
                    continue
                row_of = {index: row for row, index in enumerate(features.records.tolist())}
                rows = [row_of.get(number[key], -1) for key in keys]
                if min(rows) >= 0:
                    values: np.ndarray = features.values[rows].float().numpy()
                    return values
    return None


def _stored(
    folder: Path, listing: dict[str, Any], source: dict[str, Any], space: str
) -> Features | None:
    if space not in source["dims"]:
        return None
    pictures = _StoredPictures(listing["faces"], listing["pictures"], listing["keys"])
    known = _StoredSource("", source["fingerprint"], source["input_size"], source["dims"])
    cache = FeatureCache(folder)
    return cache.read(known, pictures, space) if cache.holds(known, pictures, space) else None


def _read(path: Path) -> dict[str, Any] | None:
    """A listing; None where there is none that can be used: it is written anew by each run."""
    try:
        listing = json.loads(regular(path).read_bytes())
        strings = [listing["faces"], listing["pictures"], *listing["keys"]]
        for source in listing["sources"]:
            strings.append(source["fingerprint"])
            if not isinstance(source["input_size"], int) or not isinstance(source["dims"], dict):
                return None
        whole = len(listing["keys"]) == len(listing["indices"]) > 0
        whole = whole and all(isinstance(i, int) for i in listing["indices"])
        return listing if whole and all(isinstance(s, str) for s in strings) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
