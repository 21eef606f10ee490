"""Fixtures: a tiny encoder on disk, and a folder with small data sets on their owners' layouts."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces.encoders.encoder import save_encoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder
from tests.support.small_sets import write_fer2013, write_keypoints, write_lfw


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(7):
        pixels = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"{i}.png")
    return pictures


@pytest.fixture
def save_tiny():
    """Saves a small untrained encoder to a folder: `save_tiny(folder, seed=0, identity=False)`."""

    def save(folder, seed=0, identity=False):
        torch.manual_seed(seed)
        encoder = FaceCycleEncoder(4, code_dim=8, code_size=32, identity=identity)
        return save_encoder(encoder, folder, {"method": "none"})

    return save


@pytest.fixture(autouse=True)
def _no_downloaded_weights(tmp_path, monkeypatch):
    """Rows of a table must not depend on what this machine has in its caches."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    torch.hub._hub_dir = None


@pytest.fixture
def tiny(tmp_path, save_tiny):
    return save_tiny(tmp_path / "tiny")


@pytest.fixture
def few_rendered(monkeypatch):
    """Fewer rendered faces, so that a run takes seconds."""
    monkeypatch.setattr("linear_probe.tasks.face_sets.RENDERED_COUNT", 240)
    monkeypatch.setattr("linear_probe.tasks.face_sets.RENDERED_PEOPLE", 60)


@pytest.fixture(scope="session")
def _small_data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_fer2013(root)
    write_keypoints(root)
    write_lfw(root)
    return root


@pytest.fixture
def small_data(_small_data, tmp_path):
    """A copy that a test may change, with FER-2013, LFW and the YouTube keypoints."""
    return Path(shutil.copytree(_small_data, tmp_path / "data"))
