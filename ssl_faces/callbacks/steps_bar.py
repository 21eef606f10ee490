"""One progress bar for the whole training run."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm

# Seconds between updates: once a minute in a cluster's log.
ON_A_TERMINAL, ELSEWHERE = 0.5, 60.0


class StepsBar(TQDMProgressBar):
    """Counts optimiser steps of the whole run, also after a resume.

    Lightning's bars restart in each epoch and ignore `max_steps`. Metrics are only read when the
    bar is drawn, as reading waits for the GPU.
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
            # The remaining time is estimated from the steps of this process.
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
        """Don't redraw at the end of an epoch, unlike Lightning."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_enabled:
            self._draw(trainer, pl_module)
        self.train_progress_bar.close()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # number of the CSV folder
        return metrics

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        bar = self.train_progress_bar
        bar.n = trainer.global_step
        bar.set_postfix(self.get_metrics(trainer, pl_module), refresh=False)
        bar.refresh()
        self._drawn = time.monotonic()
