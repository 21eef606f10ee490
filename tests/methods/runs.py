"""Runs of a few steps of any method from its config, on rendered faces of 32 px."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssl_faces.cli import main
from ssl_faces.rendered import RenderedFaces

ROOT = Path(__file__).parents[2]
TINY = {
    "facecycle": ("--model.init_args.encoder.width", "0.0625"),
    "resnet18": ("--model.init_args.encoder.width", "0.0625"),
}


def arguments(
    method: str, encoder: str, cache: Path, out: Path, *more: str, people: int = 8
) -> list[str]:
    """Of a run of two steps of eight pairs in float32 on the CPU, from rendered faces of people."""
    faces = cache / f"faces_of_{people}.yaml"
    faces.write_text(
        "data:\n  sets:\n    - class_path: ssl_faces.rendered.RenderedFaces\n"
        f"      init_args: {{count: 40, people: {people}, size: 32}}\n"
    )
    return [
        *("fit", "-c", str(ROOT / f"configs/method/{method}.yaml"), "-c", str(faces)),
        *("--data.size", "32", "--data.batch_size", "8", "--data.cache", str(cache)),
        *("--model.init_args.encoder.name", encoder),
        *("--model.init_args.encoder.input_size", "32", *TINY.get(encoder, ())),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.max_steps", "2"),
        *("--trainer.precision", "32-true", "--trainer.log_every_n_steps", "1"),
        *("--trainer.enable_model_summary", "false", "--trainer.enable_progress_bar", "false"),
        *("--panels_every", "0", "--out", str(out), *more),
    ]


def run(given: list[str]) -> int:
    """The exit code of `ssl-faces`, run in this process with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        try:
            return main(given)
        finally:
            torch.set_num_threads(threads)


def rendered_pairs(count: int = 8, size: int = 32) -> Tensor:
    """[count, 2, 3, size, size] in [0, 1]: faces of as many people, and their mirror images."""
    faces = RenderedFaces(8 * count, count, "all", size=size)
    pictures = faces.render_batch(range(0, 8 * count, 8)).float() / 255
    return torch.stack((pictures, pictures.flip(-1)), 1)
