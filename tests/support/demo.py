"""An encoder with a probe, a comparison, and uploads that are refused."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_faces.apps.demo.comparison import FaceComparison
from ssl_faces.encoders.saved_probe import SavedProbe, save_probe
from tests.support.images import BAD_FILES, encoded, png_of

CLASSES = ("calm", "<b>glad</b>", "sad")


def a_probe(space: str = "expression", dim: int = 8) -> SavedProbe:
    draw = torch.Generator().manual_seed(2)
    mean, scale = torch.randn(dim, generator=draw), 1 + torch.rand(dim, generator=draw)
    weight, bias = torch.randn(dim, 3, generator=draw), torch.randn(3, generator=draw)
    about = {
        "data_set": "FER-2013",
        "accuracy": {"value": 48.123, "low": 46.0, "high": 50.0, "n": 3589, "unit": "%"},
        "calibration_error": {"value": 2.51, "before_temperature": 3.5, "unit": "%", "bins": 15},
    }
    return SavedProbe("expression", space, CLASSES, mean, scale, weight, bias, 1.5, about)


@pytest.fixture(scope="session")
def with_probe(encoder_folder, tmp_path_factory) -> Path:
    """A saved encoder with a threshold, a record of verification, and a probe."""
    folder = tmp_path_factory.mktemp("with_probe") / "encoder"
    shutil.copytree(encoder_folder, folder)
    save_probe(folder, a_probe())
    return folder


@pytest.fixture(scope="session")
def comparison(with_probe, run_of) -> FaceComparison:
    """Of that encoder and FaceCycle's stage 2."""
    return FaceComparison(with_probe, run_of("facecycle_identity"))


def black(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width, 3), np.uint8)


NOT_PICTURES: dict[str, tuple[bytes, str]] = {
    **{name: BAD_FILES[name] for name in ("empty.png", "not what it says.jpg", "drawing.svg")},
    "bomb.zip": BAD_FILES["bomb.zip"],
    # A few kilobytes that have, truly, 2.5 billion pixels.
    "bomb.png": (png_of(50_000, 50_000, zlib.compress(b"\0" * 10_000_000, 9)), "pixels"),
    "many pixels.png": (encoded(black(300, 200)), "300 x 200 pixels are more than"),
    "many bytes.jpg": (b"\xff\xd8\xff" + b"0" * 60_000, "0.1 MB are more than the 0.05 MB"),
}
"""Uploads that are refused by their first bytes, with limits of 0.05 MB and 50,000 pixels."""
