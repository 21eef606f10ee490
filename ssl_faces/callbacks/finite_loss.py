"""Stop a run when its loss is not finite; the last good checkpoint is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.common.finite import check_weights

_NEVER = torch.iinfo(torch.int64).max


class FiniteLoss(pl.Callback):
    """Raises an InputError if the loss is NaN or infinite.

    A single process on the CPU checks every loss before the backward pass. On a GPU this would make
    the host wait in each step. There, and with several processes, the first bad step is recorded on
    the device and checked every `log_every_n_steps` steps, before a checkpoint and at the end.
    Checkpoints with weights that are not finite are not saved either.

    The module must have a `name`.

    Args:
        checkpoint: path of the run's last checkpoint.
        resume: advice for the message if it exists.
        restart: advice if there is none.
    """

    def __init__(
        self,
        checkpoint: Path,
        resume: str = "--ckpt_path last resumes from it, best with a lower learning rate",
        restart: str = "start again with a lower learning rate, or with a lower "
        "--checkpoint_every to have one",
    ) -> None:
        self.checkpoint = checkpoint
        self.resume, self.restart = resume, restart
        self._first_bad: Tensor | None = None  # int64 []: a step, or _NEVER
        self._at_once = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        device = trainer.strategy.root_device
        self._at_once = device.type == "cpu" and trainer.world_size == 1
        self._first_bad = torch.full((), _NEVER, dtype=torch.int64, device=device)

    def on_before_backward(
        self, trainer: pl.Trainer, module: pl.LightningModule, loss: Tensor
    ) -> None:
        assert self._first_bad is not None
        self.note(loss, trainer.global_step + 1)
        if self._at_once:
            self._check(trainer, module)

    def note(self, loss: Tensor, step: int) -> None:
        """Record the first step with a bad loss, without waiting for the device."""
        assert self._first_bad is not None
        bad = ~loss.detach().isfinite().all()
        self._first_bad.masked_fill_(bad & (self._first_bad == _NEVER), step)

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        # Count batches: all processes have the same number, also with accumulated gradients.
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (index + 1) % max(1, every) == 0:
            self._check(trainer, module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Called in every process, before anything is written.
        self._check(trainer, module, weights=True)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # Before the encoder is saved.
        self._check(trainer, module, weights=True)

    def _check(
        self, trainer: pl.Trainer, module: pl.LightningModule, weights: bool = False
    ) -> None:
        if self._first_bad is None:
            return
        first = self._first_bad
        if trainer.world_size > 1:
            # All processes stop at the same step; otherwise the rest would wait forever.
            first = trainer.strategy.reduce(first.clone(), reduce_op="min")
        step, name = int(first), module.name
        if step != _NEVER:
            raise InputError(f"step {step}: the loss of {name} is not finite; {self._advice()}")
        if weights:
            what = f"step {trainer.global_step}: weights of {name}"
            check_weights(what, module.state_dict(), self._advice())

    def _advice(self) -> str:
        if self.checkpoint.exists():
            return f"the last good checkpoint, {self.checkpoint}, is kept: {self.resume}"
        return f"no checkpoint had been saved, so {self.restart}"
