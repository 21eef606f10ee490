"""Signals that ask a run to end: it saves its state at the end of the step, and ends."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments import SLURMEnvironment

from ssl_faces.training.requeue import requeue


class StopAsked(SystemExit):
    """The run has ended for a signal.

    The first process's exit code is 128 and the signal's number; that of others is 0, since
    launchers kill what is left of a run one of whose processes has failed.
    """

    def __init__(self, number: int, step: int, first: bool) -> None:
        super().__init__(128 + number if first else 0)
        self.number, self.step = number, step

    def __str__(self) -> str:
        return f"{signal.Signals(self.number).name} at step {self.step}"


class StopSignals(pl.Callback):
    """Notes Ctrl-C, SIGTERM, a closed terminal and Slurm's warning while a run trains.

    Lightning's own handler of Slurm's warning saves wherever in a step the signal comes, to a file
    of its own, which a later resume would prefer to newer checkpoints. Here all signals end in the
    run's one checkpoint, at the end of a step, that all processes agree on: whoever was asked.
    Lightning's plug-in (`SLURMEnvironment`) says whether Slurm is asked to queue the job again, and
    which signal is its warning.

    Attributes:
        asked: the signal, or 0.
    """

    def __init__(self) -> None:
        self.asked = 0
        self._before: dict[int, Any] = {}
        self._warning: int = 0  # Slurm's

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Later than Lightning's, which its teardown takes away with ours.
        self.asked = signal.SIGTERM if trainer.received_sigterm else 0
        self._warning = _warning(trainer)
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, self._warning):
            # What `nohup` has made deaf stays so.
            if number and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._note)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.asked == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: at once
        self.asked = self.asked or number

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def agreed(self, trainer: pl.Trainer, batch_idx: int) -> bool:
        """Whether the run is to end after this batch, for which all processes must ask.

        Several processes look where the run waits anyway, every `log_every_n_steps` batches.
        """
        if trainer.world_size == 1:
            return bool(self.asked)
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % max(1, every) and not trainer.is_last_batch:
            return False
        return trainer.strategy.reduce_boolean_decision(bool(self.asked), all=False)

    def end(self, trainer: pl.Trainer) -> None:
        """After the checkpoint: have Slurm queue the job again, and end.

        Returns where Slurm's warning came but the queue would not have the job: it trains on for
        as long as it is let.

        Raises:
            StopAsked: else.
        """
        number = self.asked
        if trainer.world_size > 1:
            asked = torch.tensor(number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(asked, reduce_op="max"))
        said = ""
        if self._warning and number in (self._warning, signal.SIGTERM):
            told = (
                requeue(only_if_running=number != self._warning) if trainer.is_global_zero else ""
            )
            said = trainer.strategy.broadcast(told)
        ends = number != self._warning or not said.startswith("not queued")
        if trainer.is_global_zero:
            name = signal.Signals(number).name
            then = "the run ends here" if ends else "the run goes on"
            print(
                f"\n{name}: step {trainer.global_step} is saved, {then}"
                f"{'; ' + said if said else ''}; --ckpt_path last goes on from it",
                flush=True,
            )
        if ends:
            raise StopAsked(number, trainer.global_step, trainer.is_global_zero)
        self.asked = 0


def _warning(trainer: pl.Trainer) -> int:
    """The signal by which Slurm warns of the end; 0 where the run is not Slurm's to queue."""
    environment = trainer._accelerator_connector.cluster_environment
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return 0
    return int(environment.requeue_signal or signal.SIGUSR1)
