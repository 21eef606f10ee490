"""Signals that stop a run at the end of a step, after saving its state."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment

from ssl_faces.common.requeue import requeue


class RunStopped(SystemExit):
    """The run has ended because of a signal.

    The exit code is 128 + the signal's number in the first process, and 0 in others, since
    launchers kill all processes when one fails.
    """

    def __init__(self, number: int, step: int, first: bool) -> None:
        super().__init__(128 + number if first else 0)
        self.number, self.step = number, step

    def __str__(self) -> str:
        return f"{signal.Signals(self.number).name} at step {self.step}"


class StopSignals(pl.Callback):
    """Handles Ctrl-C, SIGTERM, a closed terminal and Slurm's warning during training.

    Lightning's handler of Slurm's warning saves in the middle of a step, to another file that a
    later resume would prefer to newer checkpoints. Here every signal leads to the run's checkpoint
    at the end of a step that all processes agree on. Lightning's `SLURMEnvironment` defines
    whether the job is requeued, and the signal of Slurm's warning.

    Attributes:
        received: the signal, or 0.
    """

    def __init__(self) -> None:
        self.received = 0
        self._before: dict[int, Any] = {}
        self._warning: int = 0  # Slurm's

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # After Lightning has set its handlers, which its teardown removes.
        self.received = signal.SIGTERM if trainer.received_sigterm else 0
        self._warning = _warning(trainer)
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, self._warning):
            # Signals that `nohup` ignores stay ignored.
            if number and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt  # the second Ctrl-C stops at once
        self.received = self.received or number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def agreed(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """Whether the run should stop after this batch; called by all processes.

        Several processes communicate every `log_every_n_steps` batches, where they wait anyway.
        """
        if trainer.world_size == 1:
            return bool(self.received)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % max(1, every) and not trainer.is_last_batch:
            return False
        return trainer.strategy.reduce_boolean_decision(bool(self.received), all=False)

    def end(self, trainer: pl.Trainer) -> None:
        """After the checkpoint: requeue a Slurm job, and stop.

        Returns if Slurm's warning came but the job can't be requeued: it uses its remaining time.

        Raises:
            RunStopped: otherwise.
        """
        number = self.received
        if trainer.world_size > 1:
            received = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(received, reduce_op="max"))
        queue = ""
        if self._warning and number in (self._warning, signal.SIGTERM):
            if trainer.is_global_zero:
                queue = requeue(only_if_running=number != self._warning)
            queue = trainer.strategy.broadcast(queue)
        ends = number != self._warning or not queue.startswith("not queued")
        if trainer.is_global_zero:
            name = signal.Signals(number).name
            then = "the run ends here" if ends else "the run continues"
            print(
                f"\n{name}: step {trainer.global_step} is saved, {then}"
                f"{'; ' + queue if queue else ''}; --ckpt_path last resumes from it",
                flush=True,
            )
        if ends:
            raise RunStopped(number, trainer.global_step, trainer.is_global_zero)
        self.received = 0


def _warning(trainer: pl.Trainer) -> int:
    """Slurm's warning signal before the time limit; 0 if the job is not to be requeued."""
    environment = trainer._accelerator_connector.cluster_environment
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return 0
    return int(environment.requeue_signal or signal.SIGUSR1)
