"""Small methods, runs, releases and encoders for the tests of commands on the user's images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ssl_faces import save_encoder
from ssl_faces.encoders.saved_probe import SavedProbe, save_probe
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.method import Method
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings
from tests.support.commands import run
from tests.support.facecycle import SIDE, motion, save
from tests.support.images import detect_holes

Runs = Callable[[str], Path]


def a_method(kind: str, folder: Path) -> Method:
    """A method with random weights whose outputs differ between images."""
    torch.manual_seed(3)
    if kind == "facecycle_motion":
        return motion()
    if kind == "facecycle_contrast":
        settings = EncoderSettings("resnet18", SIDE, 0.125)
        contrast = FaceCycleContrast(settings, code_dim=16, projection_dim=8, decoder_width=4)
        method: Method = contrast
        enlarged = (*contrast.motion.parameters(), *contrast.face.parameters())
    else:
        identity = FaceCycleIdentity(save(motion(), folder / "stage1.ckpt"))
        method = identity
        enlarged = (*identity.renormaliser.parameters(), *identity.identity.parameters())
    for parameter in enlarged:
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    return method


def a_run(kind: str, folder: Path) -> Path:
    """A run's folder with its checkpoint and its encoder."""
    method = a_method(kind, folder).eval()
    save(method, folder / "run/checkpoints/last.ckpt")  # type: ignore[arg-type]
    save_encoder(method.encoder, folder / "run/encoder", {"method": kind})
    return folder / "run"


def _made_once(make: Callable[[str], Path]) -> Runs:
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = make(kind)
        return made[kind]

    return get


@pytest.fixture(scope="session")
def run_of(tmp_path_factory) -> Runs:
    """Runs by the name of their method."""
    return _made_once(lambda kind: a_run(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(scope="session")
def release_of(run_of, tmp_path_factory) -> Runs:
    """Releases of these runs, named `kept`."""

    def release(kind: str) -> Path:
        out = tmp_path_factory.mktemp(f"released_{kind}")
        assert run("release", run_of(kind), "--name", "kept", "--out", out) == 0
        return out / "kept"

    return _made_once(release)


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory) -> Path:
    """A saved encoder with both codes, whose card has how it verifies people."""
    torch.manual_seed(5)
    encoder = BackboneEncoder("resnet18", SIDE, 0.125, {"expression": 8, "identity": 6})
    record = {
        **{"task": "identity", "metric": "accuracy", "probe": "cosine similarity"},
        **{"feature_space": "identity", "value": 61.23, "low": 58.0, "high": 64.5, "n": 900},
        "data_set": "LFW",
    }
    verification = {
        **{"space": "identity", "mean": [0.1, -0.2, 0.3, 0.0, 0.05, -0.4], "threshold": 0.25},
        "told": "of a test",
    }
    card = {"records": [{**record, "metric": "AUC"}, record], "verification": verification}
    return save_encoder(encoder, tmp_path_factory.mktemp("encoder"), card)


@pytest.fixture
def stub(monkeypatch) -> None:
    """Detect the faces of a `photo` instead of using MTCNN."""
    monkeypatch.setattr("ssl_faces.apps.face_finder.open_detector", lambda *_: detect_holes)


def add_probe(folder: Path, classes: tuple[str, ...], task: str = "expression") -> Path:
    """Save a probe of random weights on the expression code beside an encoder; the folder."""
    draw = torch.Generator().manual_seed(7)
    weight = 4 * torch.randn(8, len(classes), generator=draw)
    zero, one = torch.zeros(8), torch.ones(8)
    bias = torch.zeros(len(classes))
    figure = {"value": 48.15, "low": 46.5, "high": 49.79, "n": 3589}
    about = {"data_set": "a test", "accuracy": figure}
    save_probe(folder, SavedProbe(task, "expression", classes, zero, one, weight, bias, 2.0, about))
    return folder
