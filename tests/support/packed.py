"""Noise images to pack, and what a pack has of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from ssl_faces.data.store.packs import Pack

SIZES = {"a.png": (20, 20), "b.jpg": (31, 20), "c.png": (16, 16), "d.jpg": (90, 131)}


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(pixels: np.ndarray, path: Path) -> Path:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG" if path.suffix == ".png" else "JPEG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return path


def noise_images(folder: Path) -> Path:
    """Four noise pictures of several sizes and kinds."""
    for seed, (name, size) in enumerate(SIZES.items()):
        save(noise(*size, seed), folder / name)
    return folder


class Stored(NamedTuple):
    """A picture of a pack."""

    image: np.ndarray
    sha256: str
    person: int


def stored(pack: Pack) -> dict[str, Stored]:
    """What a pack has to train on, by key."""
    found: dict[str, Stored] = {}
    rows, keys = pack.index.images, pack.index.images.key_list()
    images = np.concatenate([pack.open(number) for number in range(len(pack.index.shards))])
    for row in np.flatnonzero(~rows.dropped).tolist():
        assert keys[row] not in found
        digest = rows.hashes[row].tobytes().hex()
        found[keys[row]] = Stored(images[row], digest, int(rows.people[row]))
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def small_shards(monkeypatch: pytest.MonkeyPatch, pictures: int, size: int = 16) -> None:
    monkeypatch.setattr("ssl_faces.data.store.packing.SHARD_BYTES", pictures * 3 * size * size)
