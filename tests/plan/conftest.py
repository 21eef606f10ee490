"""Plans of runs that take a second: a few rendered clips of 16 px."""

from pathlib import Path

import pytest
import yaml

from ssl_faces.plan import engine
from tests.support.in_process import InProcess
from tests.support.workers import workers as workers

ROOT = Path(__file__).parents[2]
MOTION = str(ROOT / "configs/method/facecycle_motion_small.yaml")
IDENTITY = str(ROOT / "configs/method/facecycle_identity_small.yaml")


@pytest.fixture
def in_process(monkeypatch):
    executor = InProcess()
    monkeypatch.setattr(engine, "executor", executor)
    return executor


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    """For commands that tests start."""
    # Reading real faces takes long.
    monkeypatch.setenv("SSL_FACES_DATA", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # A service of this process would think that a run which was killed still runs.
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def common(tmp_path):
    """Settings of runs on the CPU: two pairs of rendered frames of 16 px a step."""
    clips = {"clips": 6, "people": 6, "frames": 4, "fps": 8.0, "size": 16, "nuisances": "none"}
    data = {"class_path": "ssl_faces.rendered.RenderedClips", "init_args": clips}
    few = tmp_path / "few.yaml"
    few.write_text(yaml.safe_dump({"data": {"sets": [data]}}))
    arguments = {
        "data.batch_size": 2,
        "data.size": 16,
        "data.cache": str(tmp_path / "packed"),
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.precision": "32-true",
        "trainer.enable_model_summary": False,
        "panels_every": 0,
        "probe_every": 0,
    }
    return {"configs": [str(few)], "arguments": arguments}


def stage1(**more):
    """FaceCycle's first stage on images of 16 px; `more` arguments of `fit`."""
    sizes = {"model.input_size": 16, "model.map_size": 16}
    return {"configs": [MOTION], "arguments": {**sizes, **more}}


def stage2(**more):
    """FaceCycle's second stage."""
    arguments = {"model.motion_checkpoint": "{previous}/checkpoints/last.ckpt", **more}
    return {"configs": [IDENTITY], "arguments": arguments}


def write_plan(path, content):
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path
