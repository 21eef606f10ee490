"""A comparison of runs that take a second: a few rendered clips of 16 px."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ssl_faces.cli import main as ssl_faces
from ssl_faces.common import children

ROOT = Path(__file__).parents[2]
MOTION = str(ROOT / "configs/method/facecycle_motion_small.yaml")
IDENTITY = str(ROOT / "configs/method/facecycle_identity_small.yaml")

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a comparison of FaceCycle's first stage and two seeds; keys replace its own."""
    few = few_clips(tmp_path)

    def write(**changed: Any) -> Path:
        content = {
            "budget_pflop": 4e-6,
            "seeds": [0, 1],
            "configs": [few],
            "arguments": common_arguments(tmp_path),
            "methods": {"motion": [stage1()]},
            **changed,
        }
        path = tmp_path / "comparison.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return path

    return write


def few_clips(folder: Path) -> str:
    """A config of rendered clips of 16 px, in the folder."""
    clips = {"clips": 6, "people": 6, "frames": 4, "fps": 8.0, "size": 16, "nuisances": "none"}
    data = {"class_path": "ssl_faces.rendered.RenderedClips", "init_args": clips}
    path = folder / "few.yaml"
    path.write_text(yaml.safe_dump({"data": {"sets": [data]}}))
    return str(path)


def common_arguments(folder: Path) -> dict[str, Any]:
    """Of `fit`: two pairs of 16 px a step, in float32 on the CPU."""
    return {
        "data.batch_size": 2,
        "data.size": 16,
        "data.cache": str(folder / "packed"),
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.precision": "32-true",
        "trainer.enable_model_summary": False,
        "panels_every": 0,
        "probe_every": 0,
    }


def stage1(**more: Any) -> dict[str, Any]:
    """FaceCycle's first stage on pictures of 16 px; `more` arguments of `fit`."""
    sizes = {"model.input_size": 16, "model.map_size": 16}
    return {"configs": [MOTION], "arguments": {**sizes, **more}}


def two_stages() -> list[dict[str, Any]]:
    arguments = {"model.motion_checkpoint": "{previous}/checkpoints/last.ckpt"}
    return [
        {**stage1(), "share": 0.7},
        {"configs": [IDENTITY], "arguments": arguments, "share": 0.3},
    ]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for_children(monkeypatch)


def for_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of commands that tests begin."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    # A service of this process would think that a run which was killed still goes on.
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands run in this process, which spares each its start; those that were, in order.

    Of `linear-probe run` it is only noted.
    """
    asked: list[list[str]] = []

    def run(module: str, words: list[str], log: Path, lock: int) -> None:
        asked.append(list(words))
        if module == "linear_probe.cli":
            if words[0] == "comparison":
                Path(words[1], "comparison.md").write_text("the table")
            return
        assert module == "ssl_faces.cli"
        run_here(ssl_faces, words)

    monkeypatch.setattr(children, "run", run)
    return asked


def run_here(main: Callable[[list[str]], int], words: list[str]) -> None:
    """Run a command in this process, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        code = main(words)
    finally:
        torch.set_num_threads(threads)
    if code:
        raise children.Failed(f"code {code}")


def compare(path: Path, out: Path) -> int:
    return ssl_faces(["compare", "-c", str(path), "--out", str(out)])
