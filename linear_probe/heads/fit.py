"""Trains a head on labelled pictures, stopped or not; asks a trained one what it says."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.utils.data import DataLoader

from linear_probe.heads.head import Head
from linear_probe.heads.module import HeadModule, HeadTraining
from linear_probe.heads.pictures import EpochBatches, LabelledPictures, Taught
from ssl_faces import InputError
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.callbacks.steps_bar import StepsBar
from ssl_faces.errors import reason_of
from ssl_faces.files import replace_file
from ssl_faces.hardware import fast_bfloat16

SETTINGS_FILE = "settings.json"
CHECKPOINT_FILE = "last.ckpt"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Machine:
    """Where a head is trained: of Lightning's trainer."""

    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"


def usual_precision() -> str:
    """bf16 where it is fast."""
    return "bf16-mixed" if fast_bfloat16() else "32-true"


def train(
    head: Head, training: HeadTraining, pictures: Taught, seed: int, run: Path, machine: Machine
) -> None:
    """Train `head` on the rows to be learnt from, from its last checkpoint in `run` if any.

    Raises:
        InputError: a batch that is larger than the training part, or not shared out evenly; a
            checkpoint that can't be read.
    """
    labels = pictures.labels[pictures.learnt]
    batch = training.batch_size
    if len(labels) < batch or batch % machine.devices:
        raise InputError(
            f"training.batch_size: {batch}; give a multiple of the {machine.devices} device(s), "
            f"and no more than the {len(labels):,} training pictures"
        )
    head.goal.count(labels)
    checkpoint = run / CHECKPOINT_FILE
    goes_on = checkpoint.exists()
    if goes_on:
        read_checkpoint(checkpoint)  # before Lightning does, which says less of what is wrong
    trainer = pl.Trainer(
        max_epochs=training.epochs,
        accelerator=machine.accelerator,
        devices=machine.devices,
        precision=machine.precision,  # type: ignore[arg-type]
        logger=CSVLogger(run, name="csv"),
        # Of whole epochs: the order of rows begins anew in each.
        callbacks=[LastCheckpoint(checkpoint, len(labels) // batch), StepsBar()],
        default_root_dir=run,
        use_distributed_sampler=False,
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    order = EpochBatches(len(labels), batch, seed, trainer.global_rank, trainer.world_size)
    rows = LabelledPictures(pictures.images[pictures.learnt], labels)
    more: dict[str, Any] = {}
    if "weights_only" in inspect.signature(trainer.fit).parameters:  # of Lightning from 2.6 on
        more["weights_only"] = True
    trainer.fit(
        HeadModule(head, training, seed),
        DataLoader(rows, sampler=order, batch_size=None),
        ckpt_path=str(checkpoint) if goes_on else None,
        **more,
    )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a head's training has saved; no code in it is run.

    Raises:
        InputError: no whole checkpoint of a head.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        for name in ("state_dict", "global_step", "pytorch-lightning_version"):
            found[name]
        found["lr_schedulers"][0]["total_steps"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; train the head first") from error
    except Exception as error:  # torch's have no common class
        raise InputError(
            f"{path}: can't be read ({reason_of(error)}); delete it, and the head is trained anew"
        ) from error
    return dict(found)


def told(head: Head, images: Tensor, bfloat16: bool = False, features: bool = False) -> Tensor:
    """What a trained head says of pictures uint8 [N, 3, R, R]: float32 [N, outputs].

    Args:
        bfloat16: convolutions and matrices in bfloat16.
        features: its representation, [N, D], instead.
    """
    said = head.representation if features else head.predict
    return torch.cat(in_parts(head, images, lambda x: said(x).float().cpu(), bfloat16))


def in_parts(
    head: Head, images: Tensor, of: Callable[[Tensor], _T], bfloat16: bool = False
) -> list[_T]:
    """What `of` makes of test pictures uint8 [N, 3, R, R] that the head has prepared, some at a
    time.

    Args:
        bfloat16: convolutions and matrices in bfloat16.
    """
    device = next(head.parameters()).device
    head.eval()
    parts = []
    for part in images.split(64):
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, bfloat16):
            prepared = head.prepare(part.to(device)).to(memory_format=torch.channels_last)
            parts.append(of(prepared))
    return parts


def same_settings(run: Path, settings: dict[str, Any]) -> None:
    """Note the settings of a run in its folder, or see that they are those noted there.

    Raises:
        InputError: they are others.
    """
    path = run / SETTINGS_FILE
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text() != text:
        kept = json.loads(path.read_text())
        changed = sorted(k for k in {*kept, *settings} if kept.get(k) != settings.get(k))
        raise InputError(
            f"{run}: holds a run with another {', '.join(changed)}; give another --out, or "
            "delete it"
        )
    replace_file(path, text.encode())
