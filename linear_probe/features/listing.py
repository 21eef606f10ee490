"""Lists the images and sources of a run's features, so that a report finds them without the data.

The feature cache names its files by hashes of weights and images; a listing keeps those hashes and
the images' keys beside the features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from linear_probe.features.files import LISTING_SUFFIX, lock, read_features, space_name
from linear_probe.features.frozen import KeyedSource, Pictures, Source, stem_of
from ssl_faces.common.files import regular, replace_file


def write_listing(folder: Path, pictures: Pictures, sources: Sequence[Source]) -> None:
    """List in the features' `folder` that it has those of these images from these sources.

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


def find_features(
    folder: Path, fingerprint: str, space: str, keys: Sequence[str]
) -> np.ndarray | None:
    """Features float32 [N, D] of the images with these keys.

    Args:
        folder: the run's folder of features.
        fingerprint, space: as in `Record`.

    Returns:
        None where some are missing.

    Raises:
        InputError: the features' file can't be read.
    """
    wanted = set(keys)
    for path in sorted(folder.glob(f"*{LISTING_SUFFIX}")):
        listing = _read(path)
        if listing is None or not fingerprint:
            continue
        number = dict(zip(listing["keys"], listing["indices"], strict=True))
        for source in listing["sources"]:
            if not source["fingerprint"].startswith(fingerprint):
                continue
            stem = stem_of(
                *(listing["faces"], source["fingerprint"], source["input_size"]),
                listing["pictures"],
            )
            file = folder / f"{stem}-{space_name(space)}.safetensors"
            if not wanted <= number.keys() or not file.exists():
                continue
            values, records = read_features(file)
            row_of = {index: row for row, index in enumerate(records.tolist())}
            rows = [row_of.get(number[key], -1) for key in keys]
            if min(rows) >= 0:
                return values[rows].float().numpy()
    return None


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
