"""A ResNet-18 trained from scratch on labelled pictures: what supervision reaches."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18
from tqdm import tqdm

from ssl_faces import InputError
from ssl_faces.common.finite import check_weights
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.training.checkpoints import load_checkpoint, save_checkpoint

BATCH = 64
RATE = 1e-3  # at the peak, of AdamW
DECAY = 0.05
SHIFT = 4
"""Pixels that training pictures are moved by at most, each way."""


class Epoch(NamedTuple):
    """What one epoch is trained on."""

    images: Tensor  # uint8 [N, 3, S, S]
    labels: Tensor  # int64 [N]


def train(
    epochs: Sequence[Epoch],
    classes: int,
    device: str,
    seed: int,
    checkpoint: Path | None = None,
    made_of: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A stock ResNet-18 trained from random weights, on each of `epochs` in turn, in evaluation
    mode.

    Pictures are mirrored at random and moved by up to `SHIFT` pixels. AdamW with a one-cycle
    schedule (Smith & Topin 2018) whose length is fixed beforehand: nothing is chosen on any data.

    Args:
        checkpoint: kept up to date after each epoch; where it is there already, training goes on
            from it and ends as it would have without a stop.
        made_of: what the pictures are; a checkpoint made of others is refused.

    Raises:
        InputError: the checkpoint is of other settings, broken, or can't be written.
    """
    torch.manual_seed(seed)
    network = resnet18(num_classes=classes).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    steps = [len(epoch.images) // BATCH for epoch in epochs]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=sum(steps), pct_start=0.15
    )
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    settings = {"steps": steps, "classes": classes, "seed": seed, **(made_of or {})}
    done = _load(checkpoint, settings, parts) if checkpoint else 0
    network.train()
    with tqdm(total=sum(steps), initial=sum(steps[:done]), desc="ResNet-18", unit="steps") as bar:
        for number, epoch in list(enumerate(epochs))[done:]:
            draw = torch.Generator().manual_seed(seed + 1_000_003 * (number + 1))
            order = torch.randperm(len(epoch.images), generator=draw)
            for step in range(steps[number]):
                rows = order[step * BATCH : (step + 1) * BATCH]
                x = varied(epoch.images[rows], draw).to(device)
                with torch.autocast(device, torch.bfloat16, fast_bfloat16()):
                    loss = F.cross_entropy(network(normalised(x)), epoch.labels[rows].to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                if step % 20 == 0:
                    bar.set_postfix(epoch=f"{number + 1}/{len(epochs)}", loss=f"{loss.item():.3f}")
            check_weights("ResNet-18", network.state_dict(), "training diverged: give another seed")
            if checkpoint:
                _save(checkpoint, number + 1, settings, parts)
    return network.eval()


def varied(images: Tensor, draw: torch.Generator) -> Tensor:
    """uint8 [N, 3, S, S], half of them mirrored, each moved by up to `SHIFT` pixels; edges are
    repeated."""
    n, size = len(images), images.shape[-1]
    mirrored = torch.rand(n, generator=draw) < 0.5
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2, n, 1), generator=draw)
    along = torch.arange(size)
    rows, columns = (along + down).clamp(0, size - 1), (along + right).clamp(0, size - 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    which = torch.arange(n)[:, None, None, None]
    channel = torch.arange(images.shape[1])[None, :, None, None]
    return images[which, channel, rows[:, None, :, None], columns[:, None, None, :]]


def normalised(images: Tensor) -> Tensor:
    """uint8 [N, 3, S, S], each picture to mean 0 and a standard deviation of about 1, so that
    exposure and contrast need not be learnt."""
    x = images.float()
    x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 8)
    return x.to(memory_format=torch.channels_last)


@torch.inference_mode()
def told(network: nn.Module, images: Tensor, device: str) -> np.ndarray:
    """The class that the network tells of each picture: int64 [N]."""
    parts = []
    for part in images.split(256):
        with torch.autocast(device, torch.bfloat16, fast_bfloat16()):
            parts.append(network(normalised(part.to(device))).argmax(1).cpu())
    return torch.cat(parts).numpy()


def _save(path: Path, done: int, settings: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    save_checkpoint(path, {"done": done, "settings": dict(settings), **states})


def _load(path: Path, settings: Mapping[str, Any], parts: Mapping[str, Any]) -> int:
    """Take up the checkpoint's state where there is one; how many epochs it has behind it."""
    if not path.exists():
        return 0
    try:
        saved = load_checkpoint(path)
        kept = saved["settings"]
        if kept == settings:
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            return int(saved["done"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as e:
        raise InputError(f"{path} is broken; delete it to train anew") from e
    changed = sorted(k for k in {*kept, *settings} if kept.get(k) != settings.get(k))
    raise InputError(
        f"{path} was trained with another {changed[0]}; delete it or give another --out"
    )
