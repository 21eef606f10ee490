"""Trains a head on labelled images, resumes an interrupted training, and predicts."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor
from torch.utils.data import DataLoader

from linear_probe.heads.head import Head
from linear_probe.heads.job import HeadExperiment
from linear_probe.heads.module import HeadModule, HeadTraining
from linear_probe.heads.pictures import EpochBatches, LabelledPictures, LabelledSplit
from linear_probe.records.runner import Run
from ssl_faces import InputError
from ssl_faces.callbacks.finite_loss import FiniteLoss
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.callbacks.progress import StepsBar
from ssl_faces.callbacks.wandb_logger import CarefulWandbLogger, default_loggers, finish_wandb
from ssl_faces.common.checkpoints import load_checkpoint
from ssl_faces.common.children import Stopped
from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import locked, replace_file
from ssl_faces.common.finite import check_weights, non_finite_rows
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.common.ranks import is_first

_log = logging.getLogger(__name__)
HEADS_FOLDER = "heads"
SETTINGS_FILE = "settings.json"
IMAGES = "images"
"""Key of the settings file: SHA-256 of the training images and labels."""
CHECKPOINT_FILE = "last.ckpt"
VALIDATED = 512
"""Validation images, at most, that are looked at after each epoch."""
Validate = Callable[[Tensor, Tensor], dict[str, float]]
_T = TypeVar("_T")


class Trainer:
    """Trains heads by the settings of an experiment."""

    def __init__(self, job: HeadExperiment, run: Run) -> None:
        self.run, self.accelerator, self.devices = run, job.accelerator, job.devices
        self.precision = job.precision or ("bf16-mixed" if fast_bfloat16() else "32-true")
        self.bfloat16 = self.precision.startswith("bf16")

    def train(
        self,
        head: Head,
        training: HeadTraining,
        split: LabelledSplit,
        seed: int,
        folder: Path,
        validate: Validate | None = None,
    ) -> None:
        """Train `head` on the split's training rows, from its last checkpoint in `folder` if any.

        The settings of the run are written there. A checkpoint must have the same settings and
        images, wherever the images lie. If several processes train in one folder at once, one
        trains and the others wait. The loss and figures on validation images are logged there as
        CSV, and by W&B as `ssl-faces fit` does (offline, see WANDB_MODE).

        Args:
            validate: figures of outputs [N, outputs] and labels of validation images; they are
                logged after each epoch, and choose nothing.

        Raises:
            InputError: a batch larger than the training part or not a multiple of the devices; a
                checkpoint that can't be read or has other settings; a loss that is not finite; a
                folder that can't be written.
        """
        batch, count = training.batch_size, len(split.train)
        if count < batch or batch % self.devices:
            raise InputError(
                f"training.batch_size: {batch}; give a multiple of the {self.devices} device(s), "
                f"and no more than the {count:,} training pictures"
            )
        self.run.folder.begin()
        labels = split.labels[split.train]
        head.goal.count(labels)
        settings = {**self.run.settings, "seeds": [seed], IMAGES: _digest(split)}
        with _exclusive(folder):
            _note_settings(folder, settings)
            checkpoint = folder / CHECKPOINT_FILE
            resumes = checkpoint.exists()
            if resumes:
                read_checkpoint(checkpoint)  # its message says more than Lightning's
            trainer = self._lightning(training, count // batch, folder)
            if validate is not None and len(split.validation):
                curve = ValidationCurve(split, validate, self.bfloat16)
                trainer.callbacks.append(curve)  # type: ignore[attr-defined]
            for logger in trainer.loggers:
                if isinstance(logger, CarefulWandbLogger):
                    logger.log_hyperparams(_without_places(settings))
            order = EpochBatches(count, batch, seed, trainer.global_rank, trainer.world_size)
            rows = LabelledPictures(split.images[split.train], labels)
            failed = 1
            try:
                with suppress(SIGTERMException):
                    trainer.fit(
                        HeadModule(head, training, seed),
                        DataLoader(rows, sampler=order, batch_size=None),
                        ckpt_path=str(checkpoint) if resumes else None,
                        weights_only=True,
                    )
                failed = 0
            finally:
                finish_wandb(failed)  # the next head is another run
        if trainer.received_sigterm:
            raise Stopped(signal.SIGTERM)

    def _lightning(self, training: HeadTraining, steps: int, folder: Path) -> pl.Trainer:
        """Lightning's trainer, for epochs of so many steps."""
        checkpoint = folder / CHECKPOINT_FILE
        return pl.Trainer(
            max_epochs=training.epochs if training.steps is None else -1,
            max_steps=training.steps or -1,
            accelerator=self.accelerator,
            devices=self.devices,
            precision=self.precision,  # type: ignore[arg-type]
            logger=default_loggers(folder, name=f"{folder.parent.name} {folder.name}"),
            callbacks=[
                LastCheckpoint(checkpoint, steps),  # of whole epochs: each orders its rows anew
                StepsBar(),
                FiniteLoss(
                    checkpoint,
                    "set a lower training.peak_learning_rate, and another --out (or delete "
                    f"{folder})",
                    "set a lower training.peak_learning_rate and run again",
                ),
            ],
            default_root_dir=folder,
            use_distributed_sampler=False,
            enable_model_summary=False,
            log_every_n_steps=min(20, steps),
        )

    def outputs(self, head: Head, images: Tensor, features: bool = False) -> Tensor:
        """See `head_outputs`."""
        return head_outputs(head, images, self.bfloat16, features)


class ValidationCurve(pl.Callback):
    """Logs figures on up to `VALIDATED` validation images after each epoch, as `validation/NAME`.

    Args:
        validate: the figures.
        bfloat16: as in `head_outputs`.
    """

    def __init__(self, split: LabelledSplit, validate: Validate, bfloat16: bool) -> None:
        step = -(-len(split.validation) // VALIDATED)
        rows = split.validation[::step]
        self.images, self.labels = split.images[rows], split.labels[rows]
        self.validate, self.bfloat16 = validate, bfloat16

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        head: Any = module.head
        outputs = head_outputs(head, self.images, self.bfloat16)
        head.train()
        figures = self.validate(outputs, self.labels)
        module.log_dict(
            {f"validation/{name}": value for name, value in figures.items()}, rank_zero_only=True
        )


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep other processes, but those of this run, from training in the folder."""
    if not is_first():
        yield
        return
    waiting = f"{folder}: another process trains this head; waiting for it"
    with locked(folder / CHECKPOINT_FILE, lambda: _log.warning(waiting)):
        yield


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint of a head's training; no code in it is run. Raises InputError: no whole
    checkpoint of a head, or weights that are NaN or infinite."""
    try:
        checkpoint = load_checkpoint(path)
        for name in ("state_dict", "global_step", "pytorch-lightning_version"):
            checkpoint[name]
        checkpoint["lr_schedulers"][0]["total_steps"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: is missing; train the head first") from error
    except Exception as error:  # torch's have no common class
        raise InputError(
            f"{path}: can't be read ({reason_of(error)}); delete it, and the head is trained anew"
        ) from error
    check_weights(path, checkpoint["state_dict"], "training diverged: delete it and train again")
    return dict(checkpoint)


def head_outputs(
    head: Head, images: Tensor, bfloat16: bool = False, features: bool = False
) -> Tensor:
    """A trained head's outputs of images uint8 [N, 3, R, R]: float32 [N, outputs].

    Args:
        bfloat16: convolutions and matrices in bfloat16.
        features: return its representation, [N, D], instead.

    Raises:
        InputError: outputs are NaN or infinite.
    """
    call = head.representation if features else head.predict
    outputs = torch.cat(in_batches(head, images, lambda x: call(x).float().cpu(), bfloat16))
    bad = len(non_finite_rows(outputs))
    if bad:
        raise InputError(
            f"{head.name}: outputs of {bad:,} of {len(outputs):,} images are NaN or infinite; "
            "train it again with a lower training.peak_learning_rate, or with precision 32-true"
        )
    return outputs


def in_batches(
    head: Head, images: Tensor, of: Callable[[Tensor], _T], bfloat16: bool = False
) -> list[_T]:
    """`of` applied to batches of test images uint8 [N, 3, R, R] that the head has prepared;
    `bfloat16` as in `head_outputs`."""
    device = next(head.parameters()).device
    head.eval()
    parts = []
    for part in images.split(64):
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, bfloat16):
            prepared = head.prepare(part.to(device)).to(memory_format=torch.channels_last)
            parts.append(of(prepared))
    return parts


def _note_settings(run: Path, settings: dict[str, Any]) -> None:
    """Write the settings of a run to its folder; those of a run without a checkpoint are replaced.
    Raises InputError: the folder's checkpoint was trained with others."""
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


_PLACES = ("data", "test_data", "train_csv", "test_csv")


def _without_places(settings: Any) -> Any:
    """Settings without the data's folders, which may lie elsewhere (`IMAGES` identifies them), and
    without those that are None."""
    if isinstance(settings, list):
        return [_without_places(each) for each in settings]
    if not isinstance(settings, dict):
        return settings
    kept = {k: v for k, v in settings.items() if k not in _PLACES}
    return {name: _without_places(value) for name, value in kept.items() if value is not None}


def _digest(split: LabelledSplit) -> str:
    """SHA-256 of the training images and labels."""
    digest = hashlib.sha256()
    for values in (split.images[split.train], split.labels[split.train]):
        digest.update(f"{tuple(values.shape)} {values.dtype}".encode())
        digest.update(values.contiguous().numpy().data)
    return digest.hexdigest()
