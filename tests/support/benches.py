"""Runs of `ssl-faces bench`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.cli import main
from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.methods.method import Method

ROOT = Path(__file__).parents[2]
MOTION = ["-c", str(ROOT / "configs/method/facecycle_motion_small.yaml")]
SMALL = ["--model.input_size", "16", "--model.map_size", "16", "--data.size", "16"]


def run_bench(folder: Path, *argv: object) -> dict[str, Any]:
    """The JSON that `ssl-faces bench ARGV` writes."""
    out = folder / "bench.json"
    assert main(["bench", *map(str, argv), "--out", str(out)]) == 0
    measured: dict[str, Any] = json.loads(out.read_text())
    return measured


class Pooled(FaceEncoder):
    """One convolution and a mean."""

    encoder_name = "pooled"

    def __init__(self) -> None:
        super().__init__(16, {})
        self.feature_dims = {"pooled": 8}
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)

    def features(self, x: Tensor, spaces: Any) -> dict[str, Tensor]:
        return {"pooled": self.conv(x).relu().mean(dim=(2, 3))}


class Contrast(Method):
    """A convolution, a linear layer, attention and all pairs of a batch, perhaps with a teacher."""

    name = "contrast"

    def __init__(self, teacher: bool = False, attention: bool = False, least: int = 0) -> None:
        super().__init__()
        self.encoder = Pooled()
        self.head = nn.Linear(8, 5, bias=False)
        self.teacher = teacher
        self.attention = attention
        self.least = least

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        x = batch["pairs"].flatten(0, 1)
        if len(batch["pairs"]) < self.least:
            raise InputError("data.batch_size: too small")
        z = self.head(self.encoder(x)["pooled"])
        if self.teacher:
            with torch.no_grad():
                self.encoder(x)
        if self.attention:
            z = F.scaled_dot_product_attention(z[None, None], z[None, None], z[None, None])[0, 0]
        return (z @ z.T).square().mean()

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


MODEL = ("--model", f"{__name__}.Contrast", "--data.size", "16", "--data.batch_size", "3")
