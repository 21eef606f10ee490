"""Small face sets with labels that can be learnt from the pixels, on their owners' layouts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from ssl_faces.data import EXPRESSIONS, in_test_share
from ssl_faces.data.sets.youtube_keypoints import COLUMNS


def save_grey(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def noise(rng: np.random.Generator, bright: float) -> np.ndarray:
    return rng.integers(0, 100, (48, 48)) + bright


def write_fer2013(root: Path, train: int = 12, test: int = 4) -> Path:
    """Classes that differ in where the image is bright."""
    rng = np.random.default_rng(1)
    for usage, count in (("Training", train), ("PublicTest", test)):
        for i, name in enumerate(EXPRESSIONS):
            for number in range(count):
                pixels = noise(rng, 0)
                pixels[6 * i : 6 * i + 6] += 4
                save_grey(root / "fer2013" / usage / name / f"{usage}_{number}.png", pixels)
    return root / "fer2013"


def write_keypoints(root: Path, people: int = 24, frames: int = 3) -> Path:
    """Yaw is how much brighter the picture's left half is."""
    rng = np.random.default_rng(2)
    folder = root / "youtube_keypoints"
    rows = []
    for person in range(people):
        for frame in range(frames):
            yaw = rng.uniform(-40, 40)
            pixels = noise(rng, 50)
            pixels[:, :24] += int(yaw)
            name = f"One_{person}_{frame}.png"
            save_grey(folder / "images" / name, pixels)
            numbers = [yaw, rng.uniform(-9, 9), rng.uniform(-9, 9), 1.0, *np.arange(136)]
            rows.append([name, f"One_{person}", *(f"{number:.3f}" for number in numbers)])
    with (folder / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    names = [f"One_{person}" for person in range(people)]
    assert sum(map(in_test_share, names)) == 4
    return folder


def write_lfw(root: Path, folds: int = 3, people: int = 4) -> Path:
    """Each fold: every person's two pictures are a pair, and each person and the next another."""
    rng = np.random.default_rng(3)
    lines = [f"{folds}\t{people}"]
    for fold in range(folds):
        names = [f"Fold{fold}_Person{i}" for i in range(people)]
        for name in names:
            face = rng.integers(0, 200, (48, 48))
            for number in (1, 2):
                pixels = face + rng.integers(0, 50, (48, 48))
                save_grey(root / "lfw" / name / f"{name}_{number:04d}.png", pixels)
        lines += [f"{name}\t1\t2" for name in names]
        lines += [f"{a}\t1\t{b}\t2" for a, b in zip(names, names[1:] + names[:1], strict=True)]
    (root / "lfw" / "pairs.txt").write_text("\n".join(lines) + "\n")
    return root / "lfw"


def write_utkface(root: Path, count: int = 420, races: int = 3) -> Path:
    """Gender is how bright the middle is; it is harder to see of race 0. Ages are of two bands."""
    rng = np.random.default_rng(0)
    folder = root / "utkface"
    folder.mkdir(parents=True)
    for i in range(count):
        gender, race, age = i % 2, i // 2 % races, 20 + 10 * (i // 7 % 2)
        pixels = rng.integers(0, 100, (16, 16, 3))
        pixels[4:12] += 60 * gender if race else 12 * gender
        name = f"{age}_{gender}_{race}_2017{i:05d}.jpg.chip.png"
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return root
