"""Small methods, encoders and pictures for the tests of the verbs; a stub for MTCNN."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces import save_encoder
from ssl_faces.cli import main
from ssl_faces.methods.facecycle_contrast import FaceCycleContrast
from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.method import Method
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings
from ssl_faces.prepare.detectors import Faces
from ssl_faces.rendered import RenderedFaces
from tests.methods.test_edits import SIDE, motion, save
from tests.prepare.media import faces_at

HOLE = (255, 0, 255)
"""The stub's faces are what has this colour in their left upper pixel."""


def rendered(count: int, size: int = SIDE, seed: int = 0) -> np.ndarray:
    """Rendered faces, uint8 [N, size, size, 3]."""
    faces = RenderedFaces(max(8, count), 8, "all", size=size, seed=seed)
    return faces.render_batch(range(count)).permute(0, 2, 3, 1).numpy()


def a_method(kind: str, folder: Path) -> Method:
    """A method of random weights that tell pictures apart."""
    torch.manual_seed(3)
    if kind == "facecycle_contrast":
        made = FaceCycleContrast(
            EncoderSettings("resnet18", SIDE, 0.125), code_dim=16, projection_dim=8, decoder_width=4
        )
        for parameter in (*made.motion.parameters(), *made.face.parameters()):
            if parameter.ndim > 1:
                parameter.data.mul_(2)
        return made
    stage1 = motion()
    if kind == "facecycle_motion":
        return stage1
    path = save(stage1, folder / "stage1.ckpt")
    method = FaceCycleIdentity(path)
    for parameter in (*method.renormaliser.parameters(), *method.identity.parameters()):
        if parameter.ndim > 1:
            parameter.data.mul_(2)
    return method


def a_run(kind: str, folder: Path) -> Path:
    """A run's folder with its checkpoint and its encoder."""
    method = a_method(kind, folder).eval()
    save(method, folder / "run/checkpoints/last.ckpt")  # type: ignore[arg-type]
    save_encoder(method.encoder, folder / "run/encoder", {"method": kind})
    return folder / "run"


@pytest.fixture(scope="session")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs by their method's name, made once."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            made[kind] = a_run(kind, tmp_path_factory.mktemp(kind))
        return made[kind]

    return get


@pytest.fixture(scope="session")
def release_of(
    run_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Releases called `kept` of these runs, made once."""
    made: dict[str, Path] = {}

    def get(kind: str) -> Path:
        if kind not in made:
            out = tmp_path_factory.mktemp(f"released_{kind}")
            assert main(["release", str(run_of(kind)), "--name", "kept", "--out", str(out)]) == 0
            made[kind] = out / "kept"
        return made[kind]

    return get


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved encoder with both codes, whose card says how it verifies people."""
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
    folder = tmp_path_factory.mktemp("encoder")
    card = {"records": [{**record, "metric": "AUC"}, record], "verification": verification}
    return save_encoder(encoder, folder, json.loads(json.dumps(card)))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of MTCNN: the faces of a picture are boxes that begin with a pixel of `HOLE`, whose
    neighbour's red is their side."""

    def find(picture: np.ndarray) -> Faces:
        rows, columns = np.nonzero((picture == HOLE).all(2))
        boxes = [
            (float(x), float(y), float(x) + picture[y, x + 1, 0], float(y) + picture[y, x + 1, 0])
            for y, x in zip(rows.tolist(), columns.tolist(), strict=True)
        ]
        return faces_at(boxes)

    monkeypatch.setattr("ssl_faces.apps.faces.open_detector", lambda *_: find)


def photo(*faces: tuple[int, int, int], width: int = 320, height: int = 240) -> np.ndarray:
    """A picture with faces of the stub at (left, top, side)."""
    picture = np.random.default_rng(0).integers(0, 200, (height, width, 3), dtype=np.uint8)
    for left, top, side in faces:
        picture[top, left] = HOLE
        picture[top, left + 1] = (side, 0, 0)
    return picture


def write_all(folder: Path, pictures: np.ndarray) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"face {i}.png" for i in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    return paths


def lossless_video(path: Path, frames: Sequence[np.ndarray], fps: int = 5) -> Path:
    """A video whose pixels come back as they are."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
