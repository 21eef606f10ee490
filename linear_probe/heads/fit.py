"""Trains a head on labelled pictures, stopped or not; asks a trained one what it says."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader

from linear_probe.heads.head import Head
from linear_probe.heads.module import HeadModule, HeadTraining
from linear_probe.heads.pictures import EpochBatches, LabelledPictures, Taught
from ssl_faces import InputError
from ssl_faces.callbacks.finite_loss import FiniteLoss
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.callbacks.steps_bar import StepsBar
from ssl_faces.common.children import Stopped
from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import locked, replace_file
from ssl_faces.common.finite import check_weights, non_finite_rows
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.training.checkpoints import load_checkpoint
from ssl_faces.training.launch import is_first
from ssl_faces.training.log_once import CSVRows

_log = logging.getLogger(__name__)
SETTINGS_FILE = "settings.json"
IMAGES = "images"
"""Key of the settings file: SHA-256 of the images and labels that were learnt from."""
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
    head: Head,
    training: HeadTraining,
    pictures: Taught,
    seed: int,
    run: Path,
    machine: Machine,
    settings: dict[str, Any],
) -> None:
    """Train `head` on the rows to be learnt from, from its last checkpoint in `run` if any.

    Of several processes that train in one folder at once, one trains and the others wait.

    Args:
        settings: all that decides the weights, plain JSON values: noted in `run`, whose checkpoint
            must be of the same, and of the same images wherever they lie.

    Raises:
        InputError: a batch that is larger than the training part, or not shared out evenly; a
            checkpoint that can't be read, or of other settings; a loss that is not finite.
    """
    check_batch(training, pictures, machine)
    head.goal.count(pictures.labels[pictures.learnt])
    with _alone(run):
        _note_settings(run, {**settings, IMAGES: _digest(pictures)})
        _fit(head, training, pictures, seed, run, machine)


def check_batch(training: HeadTraining, pictures: Taught, machine: Machine) -> None:
    """Raises InputError where a batch exceeds the training part or is not shared out evenly."""
    batch, count = training.batch_size, len(pictures.learnt)
    if count < batch or batch % machine.devices:
        raise InputError(
            f"training.batch_size: {batch}; give a multiple of the {machine.devices} device(s), "
            f"and no more than the {count:,} training pictures"
        )


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """No other process trains in the folder meanwhile, but those of this run."""
    if not is_first():
        yield
        return
    waiting = f"{run}: another process trains this head; waiting for it"
    with locked(run / CHECKPOINT_FILE, lambda: _log.warning(waiting)):
        yield


def _fit(
    head: Head, training: HeadTraining, pictures: Taught, seed: int, run: Path, machine: Machine
) -> None:
    labels = pictures.labels[pictures.learnt]
    batch = training.batch_size
    checkpoint = run / CHECKPOINT_FILE
    goes_on = checkpoint.exists()
    if goes_on:
        read_checkpoint(checkpoint)  # before Lightning does, which says less of what is wrong
    trainer = pl.Trainer(
        max_epochs=training.epochs,
        accelerator=machine.accelerator,
        devices=machine.devices,
        precision=machine.precision,  # type: ignore[arg-type]
        logger=CSVRows(run, name="csv"),
        # Of whole epochs: the order of rows begins anew in each.
        callbacks=[
            LastCheckpoint(checkpoint, len(labels) // batch),
            StepsBar(),
            FiniteLoss(
                checkpoint,
                f"set a lower training.peak_learning_rate, and another --out (or delete {run})",
                "set a lower training.peak_learning_rate and run again",
            ),
        ],
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
    with suppress(SIGTERMException):
        trainer.fit(
            HeadModule(head, training, seed),
            DataLoader(rows, sampler=order, batch_size=None),
            ckpt_path=str(checkpoint) if goes_on else None,
            **more,
        )
    if trainer.received_sigterm:
        raise Stopped(signal.SIGTERM)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a head's training has saved; no code in it is run.

    Raises:
        InputError: no whole checkpoint of a head, or weights that are NaN or infinite.
    """
    try:
        found = load_checkpoint(path)
        for name in ("state_dict", "global_step", "pytorch-lightning_version"):
            found[name]
        found["lr_schedulers"][0]["total_steps"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; train the head first") from error
    except Exception as error:  # torch's have no common class
        raise InputError(
            f"{path}: can't be read ({reason_of(error)}); delete it, and the head is trained anew"
        ) from error
    check_weights(path, found["state_dict"], "training diverged: delete it and train again")
    return dict(found)


def told(head: Head, images: Tensor, bfloat16: bool = False, features: bool = False) -> Tensor:
    """What a trained head says of pictures uint8 [N, 3, R, R]: float32 [N, outputs].

    Args:
        bfloat16: convolutions and matrices in bfloat16.
        features: its representation, [N, D], instead.

    Raises:
        InputError: outputs are NaN or infinite.
    """
    said = head.representation if features else head.predict
    found = torch.cat(in_parts(head, images, lambda x: said(x).float().cpu(), bfloat16))
    bad = len(non_finite_rows(found))
    if bad:
        raise InputError(
            f"{head.name}: outputs of {bad:,} of {len(found):,} images are NaN or infinite; train "
            "it again with a lower training.peak_learning_rate, or with precision 32-true"
        )
    return found


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


def _note_settings(run: Path, settings: dict[str, Any]) -> None:
    """Note the settings of a run in its folder.

    Those of a run that failed before its first checkpoint are replaced: they bind nothing.

    Raises:
        InputError: the folder's checkpoint was trained with others.
    """
    path = run / SETTINGS_FILE
    text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
    if (run / CHECKPOINT_FILE).exists() and path.exists():
        try:
            kept = dict(json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: no settings of a head; delete {run}") from error
        old, new = _without_places(kept), _without_places(settings)
        changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
        if changed:
            raise InputError(
                f"{run}: holds a run with another {', '.join(changed)}; give another --out, or "
                "delete it"
            )
    replace_file(path, text.encode())


def _without_places(settings: Any) -> Any:
    """Settings without the folders of the data, which may be copied elsewhere: `IMAGES` says what
    they hold."""
    if isinstance(settings, list):
        return [_without_places(one) for one in settings]
    if not isinstance(settings, dict):
        return settings
    kept = {k: v for k, v in settings.items() if k not in ("data", "test_data")}
    return {name: _without_places(value) for name, value in kept.items()}


def _digest(pictures: Taught) -> str:
    """SHA-256 of what a head learns from."""
    digest = hashlib.sha256()
    for values in (pictures.images[pictures.learnt], pictures.labels[pictures.learnt]):
        digest.update(f"{tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()
