"""Checkpoints that stopped runs resume from, with the settings of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.utilities import rank_zero_only

from ssl_faces.callbacks.stop_signals import StopSignals
from ssl_faces.common.checkpoints import CheckpointFiles
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import remove_leftovers, replace_file

CONFIG_KEY, CHANGES_KEY = "config", "changed_on_resume"
"""Keys of a checkpoint: the run's settings as YAML, and those changed on resume."""


class LastCheckpoint(Checkpoint):
    """Saves the run's state to one file every `every` steps, at the last step, and when a signal
    stops the run.

    Lightning's `ModelCheckpoint` saves the last state after training, and marks an unfinished
    epoch as finished. This callback saves all states at the end of their step. A resumed run
    starts from the progress of an uninterrupted run, see `after_batch`.

    Args:
        path: the file.
        every: number of steps.
        signals: signals that stop the run; None to ignore them.
    """

    def __init__(self, path: Path, every: int, signals: StopSignals | None = None) -> None:
        self.path = path
        self.every = every
        self.signals = signals
        self._saved = 0  # step
        self._step = 0  # after the batch before

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFiles()
        if trainer.is_global_zero:
            remove_leftovers(self.path)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        try:
            after_batch(checkpoint["loops"]["fit_loop"])
        except (KeyError, TypeError) as error:
            raise InputError(
                f"checkpoint {trainer.ckpt_path}: the training progress is missing ({error}); "
                "give a run's checkpoints/last.ckpt"
            ) from error

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._saved = self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        step = trainer.global_step
        # With accumulated gradients several batches are one step; checkpoints don't hold gradients.
        stepped, self._step = step != self._step, step
        stop = self.signals is not None and self.signals.agreed(trainer, index)
        if stepped and step != self._saved and (stop or not step % self.every or _ends(trainer)):
            self._saved = step
            # Lightning logs a step after this hook. If the run ends here or is killed now, the step
            # would not be logged. `LogOnce` drops the repeated row.
            trainer._logger_connector.update_train_step_metrics()
            trainer.save_checkpoint(self.path, weights_only=False)
        if self.signals is not None and stop and step == self._saved and not _ends(trainer):
            self.signals.end(trainer)


def _ends(trainer: pl.Trainer) -> bool:
    """Whether this is the last step."""
    if trainer.should_stop or trainer.global_step == trainer.max_steps:
        return True
    return trainer.is_last_batch and trainer.current_epoch + 1 == trainer.max_epochs


def after_batch(fit: dict[str, Any]) -> None:
    """Correct the saved progress of Lightning's fit loop, in place.

    A checkpoint of `on_train_batch_end` has an uncompleted batch, which Lightning completes on
    resume. After an epoch's last batch, Lightning then counts the epoch without starting the next
    one: the number of started epochs is too low, and the next resume skips half an epoch or trains
    one twice. This function writes the progress between two epochs instead. It also corrects
    checkpoints of earlier versions, and those of unfinished epochs marked as finished.

    Args:
        fit: `checkpoint["loops"]["fit_loop"]`.

    Raises:
        KeyError, TypeError: invalid progress.
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
    for count in (epochs["total"], of_epoch):
        count.update(ready=begun, started=begun, processed=done, completed=done)
    if not whole:
        return
    batches["is_last_batch"] = False
    batches["total"]["completed"] = batches["total"]["processed"]
    fit["epoch_loop.state_dict"]["_batches_that_stepped"] += within
    optimizer = fit["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]
    for progress in (batches, fit["epoch_loop.scheduler_progress"], *optimizer.values()):
        progress["current"] = dict.fromkeys(progress["current"], 0)


class SameCheckpoint(pl.Callback):
    """Refuses a run if only some processes have the checkpoint: they would train different weights.

    Args:
        path: this process's checkpoint, if any.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path or ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        first = trainer.strategy.broadcast(self.path)
        if not trainer.strategy.reduce_boolean_decision(first == self.path, all=True):
            raise InputError(
                "--ckpt_path: not all processes find the run's checkpoint; put the run's folder "
                "where every node sees it at the same path"
            )


class RunSettings(pl.Callback):
    """Writes `config.yaml` when training starts, and its text to each checkpoint.

    Args:
        out: the run's folder.
        config: the settings as YAML.
        changes: settings changed on resume.
    """

    def __init__(self, out: Path, config: str, changes: list[dict[str, Any]]) -> None:
        self.out = out
        self.config = config
        self.changes = changes

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        replace_file(self.out / "config.yaml", self.config.encode())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CONFIG_KEY] = self.config
        checkpoint[CHANGES_KEY] = self.changes
