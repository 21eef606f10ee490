"""One bar for a whole training run: steps done of all, and the time that is left."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

# Seconds between drawings: a cluster's log gets one a minute.
ON_A_TERMINAL, ELSEWHERE = 0.5, 60.0


class StepsBar(TQDMProgressBar):
    """Counts optimiser steps from the run's first to its last, also in a run that goes on.

    Lightning's own bars begin anew in each epoch, and where `max_steps` ends a run they don't know
    how long it takes. Figures are read when the bar is drawn and not in each step, as reading makes
    a GPU wait.
    """

    def __init__(self) -> None:
        super().__init__()
        self.every = ON_A_TERMINAL if sys.stdout.isatty() else ELSEWHERE
        self._drawn = -math.inf

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        steps = trainer.estimated_stepping_batches
        self.train_progress_bar = Tqdm(
            desc=f"epoch {trainer.current_epoch + 1}",
            total=int(steps) if math.isfinite(steps) else None,
            # What is left is told by the pace of this process's steps.
            initial=trainer.global_step,
            disable=self.is_disabled,
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format=self.BAR_FORMAT,
        )
        self._drawn = -math.inf

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        bar = self.train_progress_bar
        bar.set_description(f"epoch {trainer.current_epoch + 1}", refresh=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        if self.is_enabled and time.monotonic() - self._drawn >= self.every:
            self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Lightning's draws its bar anew; ours waits for its time."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_enabled:
            self._draw(trainer, pl_module)
        self.train_progress_bar.close()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        found: dict[str, Any] = super().get_metrics(trainer, pl_module)
        found.pop("v_num", None)  # of the CSV files' folder: always the same
        return found

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        bar = self.train_progress_bar
        bar.n = trainer.global_step
        bar.set_postfix(self.get_metrics(trainer, pl_module), refresh=False)
        bar.refresh()
        self._drawn = time.monotonic()
