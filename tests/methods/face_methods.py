"""What the tests of the face-specific methods share: faces, and runs of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from ssl_faces.cli import main
from ssl_faces.encoders.encoder import FaceEncoder, load_encoder
from ssl_faces.methods.method import read_checkpoint
from ssl_faces.networks.backbone import EncoderSettings
from ssl_faces.rendered import RenderedFaces

ROOT = Path(__file__).parents[2]
SMALL = EncoderSettings("resnet18", 32, 0.125)
SIZE = SMALL.input_size


def faces(count: int) -> Tensor:
    """Faces [count, 3, 32, 32] in [0, 1] of as many people."""
    rendered = RenderedFaces(8 * count, count, "all", size=SIZE)
    return rendered.render_batch(range(0, 8 * count, 8)).float() / 255


def pairs(count: int, seed: int = 0) -> Tensor:
    """Random pairs [count, 2, 3, 32, 32] in [0, 1]."""
    return torch.rand(count, 2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def arguments(name: str, folder: Path, *more: str) -> list[str]:
    """Of a run of `configs/method/NAME.yaml` of three steps of four pairs on the CPU; its faces are
    made in `folder`, if not there yet."""
    pictures = folder / "faces"
    if not pictures.is_dir():
        pictures.mkdir(parents=True)
        for i, face in enumerate(faces(12)):
            values = (face.permute(1, 2, 0) * 255).byte().numpy()
            Image.fromarray(values).save(pictures / f"{i:02d}.png")
    return [
        *("fit", "-c", str(ROOT / f"configs/method/{name}.yaml"), "--out", str(folder / "run")),
        *("--data.root", str(pictures), "--data.cache", str(folder / "packed")),
        *("--data.size", str(SIZE), "--data.batch_size", "4"),
        *("--model.encoder.input_size", str(SIZE), "--model.encoder.width", "0.125"),
        *("--trainer.accelerator", "cpu", "--trainer.devices", "1", "--trainer.max_steps", "3"),
        *("--trainer.precision", "bf16-mixed", "--trainer.enable_progress_bar", "false"),
        *("--trainer.enable_model_summary", "false", "--panels_every", "0", *more),
    ]


def trained(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str
) -> tuple[FaceEncoder, Path]:
    """The encoder that such a run saves, and its panel."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert main(arguments(name, folder, *more)) == 0
    # What it holds is plain: it is read without running code.
    kept = read_checkpoint(folder / "run/checkpoints/last.ckpt", name)
    assert kept["hyper_parameters"]["encoder"]["input_size"] == SIZE
    return load_encoder(folder / "run"), next((folder / "run/panels").glob("*.png"))


def check_panels(panels: dict[str, Tensor], pictures: int) -> None:
    """As many pictures in [0, 1] or flows of each kind, and none of them empty."""
    for name, found in panels.items():
        assert found.shape[0] == pictures, name
        assert found.isfinite().all(), name
        if "flow" in name:
            assert found.shape[1] == 2, name
        else:
            assert found.shape[1:] == (3, SIZE, SIZE), name
            assert found.min() >= 0, name
            assert found.max() <= 1, name
            assert found.std() > 0.001, name
