"""Encoders with a probe, and runs that edit pictures, for the tests of the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssl_faces.apps.demo.comparison import FaceComparison
from ssl_faces.encoders.saved_probe import SavedProbe, save_probe
from tests.verbs.conftest import encoder_folder, run_of, stub

__all__ = ["encoder_folder", "run_of", "stub"]

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
def with_probe(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved encoder with a threshold, a record of verification, and a probe."""
    folder = tmp_path_factory.mktemp("with_probe") / "encoder"
    shutil.copytree(encoder_folder, folder)
    save_probe(folder, a_probe())
    return folder


@pytest.fixture(scope="session")
def comparison(with_probe: Path, run_of: Callable[[str], Path]) -> FaceComparison:
    """Of that encoder and FaceCycle's stage 2."""
    return FaceComparison(with_probe, run_of("facecycle_identity"))
