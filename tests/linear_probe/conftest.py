"""Fixtures: a tiny encoder on disk, and a folder with small data sets on their owners' layouts."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from linear_probe.features.frozen import Pictures
from linear_probe.records.record import Record
from ssl_faces.data import EXPRESSIONS, FaceSet, ImageFolder, in_test_share
from ssl_faces.data.sets.youtube_keypoints import COLUMNS
from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder

ONE = Record(
    task="expression",
    data_set="FER-2013",
    split="Training -> PublicTest",
    encoder="runs/a",
    feature_space="expression_map",
    probe="logistic regression",
    metric="accuracy",
    value=44.123,
    low=42.5,
    high=45.75,
    unit="%",
    higher_is_better=True,
    n=3589,
    seed=0,
    protocol="the protocol",
    note="2 left out",
)


class CountingEncoder:
    """Two spaces: the mean colour, and the top left pixel; counts its calls."""

    encoder_name = "counting"
    input_size = 16
    feature_dims = {"colour": 3, "corner": 3}  # noqa: RUF012

    def __init__(self, gain: float = 1.0) -> None:
        self.config: dict[str, Any] = {}
        self.gain = gain
        self.calls = 0

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        assert images.dtype == torch.float32
        assert images.shape[1:] == (3, 16, 16)
        assert 0 <= images.min() <= images.max() <= 1
        self.calls += 1
        return {
            "colour": self.gain * images.mean(dim=(2, 3)),
            "corner": self.gain * images[:, :, 0, 0],
        }

    def state_dict(self) -> dict[str, Tensor]:
        return {"gain": torch.tensor(self.gain)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(7):
        pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    return pictures


def all_of(folder: Path) -> Pictures:
    faces: FaceSet = ImageFolder(folder)
    return Pictures(faces, np.arange(len(faces)))


@pytest.fixture
def save_tiny() -> Callable[..., Path]:
    """Saves a small untrained encoder to a folder: `save_tiny(folder, seed=0, identity=False)`."""

    def save(folder: Path, seed: int = 0, identity: bool = False) -> Path:
        torch.manual_seed(seed)
        encoder = FaceCycleEncoder(4, code_dim=8, code_size=32, identity=identity)
        return save_encoder(encoder, folder, {"method": "none"})

    return save


@pytest.fixture(autouse=True)
def _no_downloaded_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of a table must not depend on what this machine has in its caches."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.hub._hub_dir = None  # type: ignore[attr-defined]


@pytest.fixture
def tiny(tmp_path: Path, save_tiny: Callable[..., Path]) -> Path:
    return save_tiny(tmp_path / "tiny")


@pytest.fixture
def few_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer rendered faces, so that a run takes seconds."""
    monkeypatch.setattr("linear_probe.tasks.face_sets.RENDERED_COUNT", 240)
    monkeypatch.setattr("linear_probe.tasks.face_sets.RENDERED_PEOPLE", 60)


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


@pytest.fixture(scope="session")
def _small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_fer2013(root)
    write_keypoints(root)
    write_lfw(root)
    return root


@pytest.fixture
def small_data(_small_data: Path, tmp_path: Path) -> Path:
    """A copy that a test may change, with FER-2013, LFW and the YouTube keypoints."""
    return Path(shutil.copytree(_small_data, tmp_path / "data"))
