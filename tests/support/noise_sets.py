"""Face sets of noise, each picture of another seed, and what a data module makes of them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ssl_faces.data import in_test_share
from ssl_faces.pairs.module import FaceData

NAMES = [f"Person_{i}" for i in range(40)]
TESTED = [name for name in NAMES if in_test_share(name)]
TRAINED = [name for name in NAMES if not in_test_share(name)]
"""By the YouTube keypoints' rule for people."""


def put_picture(path: Path, seed: int, size: int = 16) -> Path:
    """A PNG of noise that no other seed gives."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.getvalue())
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fer2013(root: Path) -> Path:
    for i, usage in enumerate(("Training", "PublicTest")):
        for k, name in enumerate(("angry", "happy")):
            for n in range(3):
                put_picture(root / usage / name / f"{n}.png", 100 * i + 10 * k + n)
    return root


def lfw(root: Path, people: dict[str, int], tested: tuple[str, str]) -> Path:
    seed = 1000
    for person, count in people.items():
        for n in range(1, count + 1):
            put_picture(root / person / f"{person}_{n:04d}.png", seed := seed + 1)
    first, second = tested
    (root / "pairs.txt").write_text(f"1\t1\n{first}\t1\t2\n{first}\t1\t{second}\t1\n")
    return root


def utkface(root: Path, count: int = 40) -> Path:
    for i in range(count):
        put_picture(root / f"{i + 1}_0_0_2017{i:04d}.png", 2000 + i)
    return root


def youtube(root: Path, people: dict[str, int]) -> Path:
    landmarks = [f"{axis}{i}" for i in range(68) for axis in "xy"]
    lines = [",".join(["image", "person", "yaw", "pitch", "roll", "reprojection_px", *landmarks])]
    seed = 3000
    for person, count in people.items():
        for n in range(count):
            put_picture(root / "images" / f"{person}_{n}.png", seed := seed + 1)
            lines.append(",".join([f"{person}_{n}.png", person, *["1"] * 140]))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def about(data: FaceData, name: str) -> dict[str, Any]:
    (found,) = [d for d in data.description if d["name"] == name]
    return found


def pictures_by_bytes(data: FaceData) -> dict[bytes, tuple[str, str]]:
    """(set, key) of each packed picture, by its pixels."""
    found = {}
    for pack in data.packs:
        rows = pack.index.images
        images = (x for number in range(len(pack.index.shards)) for x in pack.open(number))
        for image, which, key in zip(images, rows.sets, rows.key_list(), strict=True):
            found[image.tobytes()] = (pack.index.sets[which]["name"], key)
    return found


def who(picture: torch.Tensor, known: dict[bytes, tuple[str, str]]) -> tuple[tuple[str, str], bool]:
    """(set, key) of a picture of a pair, and whether it is mirrored."""
    upright = known.get(picture.contiguous().numpy().tobytes())
    if upright is not None:
        return upright, False
    return known[picture.flip(-1).contiguous().numpy().tobytes()], True


def met(data: FaceData) -> list[tuple[tuple[str, str], tuple[str, str], bool]]:
    known, rows = pictures_by_bytes(data), []
    for batch in data.train_dataloader():
        for first, second in batch["pairs"]:
            rows.append((who(first, known)[0], *who(second, known)))
    return rows


def four_sets(root: Path) -> Path:
    """Four small sets. One person of each kind is in LFW and in the YouTube keypoints:

    tested by both, by LFW alone, by YouTube alone, by neither.
    """
    fer2013(root / "fer")
    lfw(
        root / "lfw",
        {TESTED[0]: 2, TRAINED[0]: 2, TESTED[1]: 2, TRAINED[1]: 2, TRAINED[2]: 1},
        tested=(TESTED[0], TRAINED[0]),
    )
    utkface(root / "utk")
    youtube(
        root / "youtube",
        {TESTED[0]: 1, TRAINED[0]: 2, TESTED[1]: 2, TRAINED[1]: 3, TESTED[2]: 1, TRAINED[3]: 1},
    )
    return root
