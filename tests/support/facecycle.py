"""Small FaceCycle methods and their checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ssl_faces.methods.facecycle_identity import FaceCycleIdentity
from ssl_faces.methods.facecycle_motion import FaceCycleMotion
from ssl_faces.networks.generator import Generator

SIDE = 32


def motion(noise_std: float = 1.0, seed: int = 0) -> FaceCycleMotion:
    torch.manual_seed(seed)
    method = FaceCycleMotion(
        *("small", SIDE, "random", "joint"), noise_std=noise_std, linear_std=0.04
    )
    # Initial weights render next to nothing; these make images differ.
    assert isinstance(method.generator, Generator)
    for parameter in method.generator.to_rgb.parameters():
        parameter.data.mul_(20)
    return method


def save(method: FaceCycleMotion | FaceCycleIdentity, path: Path) -> Path:
    """Save a checkpoint with what loaders read of Lightning's."""
    checkpoint = {"state_dict": method.state_dict(), "hyper_parameters": dict(method.hparams)}
    method.on_save_checkpoint(checkpoint)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


def smooth_images(count: int, seed: int = 2) -> Tensor:
    """Smooth random images [count, 3, 32, 32] in [0, 1]."""
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear")


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)
