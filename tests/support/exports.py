"""Encoders that are written to files and read back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssl_faces import save_encoder
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.networks.backbone import BackboneEncoder
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder


def saved(folder: Path, kind: str) -> Path:
    torch.manual_seed(0)
    encoder = MAKERS[kind]()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            # As after training; otherwise folding changes nothing.
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return save_encoder(encoder, folder / kind, CARD)


def export(*argv: str | Path) -> tuple[str | Path, ...]:
    usual = ("--data", "rendered", "--faces", "40")
    return ("export", *argv, *(() if "--data" in argv else usual))


def check_same(features: Tensor | np.ndarray, expected: Tensor) -> None:
    """To 1e-4 of the features' scale."""
    difference = (torch.as_tensor(features) - expected).abs().max()
    assert features.shape == expected.shape
    assert difference < 1e-4 * (expected - expected.mean()).square().mean().sqrt()


CARD = {"method": "simclr", "name": "small", "licence": "none", "limits": ["a", "b"], "online": {}}


# 48 px end as a map of 3x3, averaged to 2x2, for which ONNX has no operation.
MAKERS: dict[str, Callable[[], FaceEncoder]] = {
    "resnet": lambda: BackboneEncoder("resnet18", 48, 0.125, {"identity": 16}, "map"),
    "vit": lambda: BackboneEncoder("vit_tiny", 32),
    # Codes take smaller images than maps: resized inside, with antialiasing.
    "facecycle": lambda: FaceCycleEncoder(4, 8, 32, 80, identity=True, linear_std=0.1),
}
