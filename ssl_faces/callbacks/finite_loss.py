"""Stops a run whose loss is no longer a finite number, with the last good checkpoint kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError

_NEVER = torch.iinfo(torch.int64).max


class FiniteLoss(pl.Callback):
    """Raises an InputError when the loss is NaN or infinite.

    One process on a CPU looks at every loss before its gradients, so that weights stay as they
    were. Elsewhere to look at each would make the host wait for the device at every step: there the
    first bad step is noted on the device, and asked for (and, of several processes, the earliest of
    all) where the run waits anyway: every `log_every_n_steps` steps, before a checkpoint is written
    and at the end. Nor is a checkpoint written whose weights are not finite though its losses were.

    The module must have a `name`.

    Args:
        checkpoint: the run's last one.
        resume: what to do where it exists, in words.
        restart: what to do where there is none.
    """

    def __init__(
        self,
        checkpoint: Path,
        resume: str = "--ckpt_path last goes on from it, best with a lower learning rate",
        restart: str = "start anew with a lower learning rate, or with a lower "
        "--checkpoint_every to have one",
    ) -> None:
        self.checkpoint = checkpoint
        self.resume, self.restart = resume, restart
        self._first_bad: Tensor | None = None  # int64 []: a step, or _NEVER
        self._at_once = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        device = trainer.strategy.root_device
        self._at_once = device.type == "cpu" and trainer.world_size == 1
        self._first_bad = torch.full((), _NEVER, dtype=torch.int64, device=device)

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        assert self._first_bad is not None
        self.note(loss, trainer.global_step + 1)
        if self._at_once:
            self._check(trainer, pl_module)

    def note(self, loss: Tensor, step: int) -> None:
        """Remember the step if its loss is bad and none was before; the host waits for nothing."""
        assert self._first_bad is not None
        bad = ~loss.detach().isfinite().all()
        self._first_bad.masked_fill_(bad & (self._first_bad == _NEVER), step)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # By batches, which all processes count alike; where several make one step, too.
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % max(1, every) == 0:
            self._check(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        # Called before anything is written, in every process.
        self._check(trainer, pl_module, weights=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Before the encoder is saved.
        self._check(trainer, pl_module, weights=True)

    def _check(
        self, trainer: pl.Trainer, module: pl.LightningModule, weights: bool = False
    ) -> None:
        if self._first_bad is None:
            return
        first = self._first_bad
        if trainer.world_size > 1:
            # All of them stop, at the same place, or the rest would wait for ever.
            first = trainer.strategy.reduce(first.clone(), reduce_op="min")
        step, name = int(first), module.name
        if step != _NEVER:
            raise InputError(f"step {step}: the loss of {name} is not finite; {self._mend()}")
        if weights and not _finite(module):
            raise InputError(
                f"step {trainer.global_step}: weights of {name} are not finite; {self._mend()}"
            )

    def _mend(self) -> str:
        if self.checkpoint.exists():
            return f"the last good checkpoint, {self.checkpoint}, is kept: {self.resume}"
        return f"no checkpoint had been saved, so {self.restart}"


def _finite(module: pl.LightningModule) -> bool:
    """Whether all parameters and statistics are; one wait for the device."""
    values = (value for value in module.state_dict().values() if isinstance(value, Tensor))
    found = [value.isfinite().all() for value in values if value.is_floating_point()]
    return not found or bool(torch.stack(found).all())
