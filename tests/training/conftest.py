"""A folder of faces and the settings of runs that take seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_faces.cli import main

ROOT = Path(__file__).parents[2]
PICTURES = 24  # twelve batches of two pairs an epoch
Fit = Callable[..., int]


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 smooth random pictures, each of its own brightness."""
    folder = tmp_path_factory.mktemp("faces")
    draw = np.random.default_rng(0)
    for i in range(PICTURES):
        coarse = draw.integers(0, 256, (5, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 40), Image.Resampling.BICUBIC).save(
            folder / f"{i:02d}.png"
        )
    return folder


def settings(stage: str, faces: Path, out: Path, *more: str) -> list[str]:
    """Arguments of a float32 run on the CPU, 32 px, two pairs a step."""
    size = [] if "identity" in stage else ["--model.init_args.input_size", "32"]
    return [
        *("fit", "-c", str(ROOT / f"configs/method/facecycle_{stage}_small.yaml")),
        *("--data.root", str(faces), "--data.batch_size", "2", "--data.size", "32"),
        *("--data.cache", str(faces.parent / "packed")),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "1"),
        *("--trainer.precision", "32-true", "--trainer.max_steps", "20"),
        *("--trainer.enable_model_summary", "false", "--panels_every", "0"),
        *(*size, "--out", str(out), *more),
    ]


def environment() -> dict[str, str]:
    # W&B's service of this process would think that a run which was killed still goes on.
    found = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}
    return {**found, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def run(*arguments: str) -> int:
    """Run `ssl-faces` in this process: its exit code."""
    # As many threads as `start` gives: sums in another order differ in their last digits.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return main(list(arguments))
    finally:
        torch.set_num_threads(threads)


def fit(*arguments: str) -> None:
    """Run `ssl-faces` in this process; it must succeed."""
    assert run(*arguments) == 0


def start(*arguments: str) -> subprocess.Popen[bytes]:
    """Run `ssl-faces` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "ssl_faces.cli", *arguments],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def motion_run(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of stage 1."""
    out = tmp_path_factory.mktemp("runs") / "motion"
    os.environ["WANDB_MODE"] = "disabled"
    fit(*settings("motion", faces, out))
    return out
