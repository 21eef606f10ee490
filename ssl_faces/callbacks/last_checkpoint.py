"""Saves the state that a stopped run goes on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from ssl_faces.callbacks.stop_signals import StopSignals


class LastCheckpoint(Checkpoint):
    """Saves the run's state to one file, every so many steps and at the last one.

    The last one is also that at whose end a run stops for a signal.

    Lightning's `ModelCheckpoint` saves the last state when training is over, with an epoch that was
    cut short marked as whole: a finished run that is given more steps would leave out the rest of
    that epoch. Here the last state is saved as all others are, at the end of its step.

    Args:
        path: the file.
        every: steps.
        signals: what asks the run to end; None: it ends without a checkpoint of its own.
    """

    def __init__(self, path: Path, every: int, signals: StopSignals | None = None) -> None:
        self.path = path
        self.every = every
        self.signals = signals
        self._saved = 0  # step
        self._step = 0  # after the batch before

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._saved = self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        step = trainer.global_step
        # Several batches may make one step; what they have gathered is in no checkpoint.
        stepped, self._step = step != self._step, step
        asked = self.signals is not None and self.signals.agreed(trainer, batch_idx)
        if stepped and step != self._saved and (asked or not step % self.every or _ends(trainer)):
            self._saved = step
            trainer.save_checkpoint(self.path, weights_only=False)
        if self.signals is not None and asked and step == self._saved and not _ends(trainer):
            self.signals.end(trainer)


def _ends(trainer: pl.Trainer) -> bool:
    """Whether no step comes after this one."""
    if trainer.should_stop or trainer.global_step == trainer.max_steps:
        return True
    return trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs
