"""Saves the state that a stopped run resumes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from ssl_faces.callbacks.stop_signals import StopSignals
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import remove_leftovers
from ssl_faces.training.checkpoints import CheckpointFiles


class LastCheckpoint(Checkpoint):
    """Saves the run's state to one file, every so many steps and at the last one.

    The last step is also the one at whose end a run stops because of a signal.

    Lightning's `ModelCheckpoint` saves the last state when training is over, and marks an epoch
    that was cut short as whole. Here the last state is saved as all others are, at the end of its
    step. A resumed run starts from the progress that an uninterrupted run has there, see
    `after_batch`.

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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFiles()
        if trainer.is_global_zero:
            remove_leftovers(self.path)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        try:
            after_batch(checkpoint["loops"]["fit_loop"])
        except (KeyError, TypeError) as error:
            raise InputError(
                f"checkpoint {trainer.ckpt_path}: it doesn't hold how far training was ({error}); "
                "give a run's checkpoints/last.ckpt"
            ) from error

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
            # Lightning logs a step after this hook: where the run ends here, or is killed once the
            # checkpoint exists, nobody would log it. `RowLogger` drops the repetition.
            trainer._logger_connector.update_train_step_metrics()
            trainer.save_checkpoint(self.path, weights_only=False)
        if self.signals is not None and asked and step == self._saved and not _ends(trainer):
            self.signals.end(trainer)


def _ends(trainer: pl.Trainer) -> bool:
    """Whether no step comes after this one."""
    if trainer.should_stop or trainer.global_step == trainer.max_steps:
        return True
    return trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs


def after_batch(fit: dict[str, Any]) -> None:
    """Change the saved progress of Lightning's fit loop to that of a run after its batch.

    A checkpoint of `on_train_batch_end` holds a batch that isn't completed. Lightning completes it
    on resume, but of an epoch's last batch it counts the epoch without having begun the next one.
    The number of epochs begun then stays one too low, so that the next resume takes a half epoch
    for a whole one, or trains an epoch twice. So after a last batch, this makes the progress that
    of a run between two epochs. Checkpoints which earlier resumes had left with too low a number
    are mended, and so are those of an epoch that was cut short and marked as whole.

    Args:
        fit: `checkpoint["loops"]["fit_loop"]`.

    Raises:
        KeyError, TypeError: it is not that.
    """
    epochs, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    now, of_epoch = batches["current"], epochs["current"]
    within = now["completed"] < now["processed"]
    whole = batches["is_last_batch"] and now["ready"] == now["processed"]
    if within:
        done = of_epoch["completed"] + whole
    elif of_epoch["processed"] == of_epoch["ready"]:
        done = of_epoch["processed"] - (not whole)
    else:
        return
    begun = done + (not whole)
    for counted in (epochs["total"], of_epoch):
        counted.update(ready=begun, started=begun, processed=done, completed=done)
    if not whole:
        return
    batches["is_last_batch"] = False
    batches["total"]["completed"] = batches["total"]["processed"]
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] += within
    optimizer = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for one in (batches, fit["epoch_loop.scheduler_progress"], *optimizer.values()):
        one["current"] = dict.fromkeys(one["current"], 0)
