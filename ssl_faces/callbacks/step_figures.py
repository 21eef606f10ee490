"""Throughput, gradient norms and learning rates, logged beside the losses."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.nn.utils import get_total_norm


class StepFigures(pl.Callback):
    """Logs every `log_every_n_steps` batches, of all since the last time or of this one.

    `lr/NAME`, the learning rate of the step, by the optimiser's groups of parameters (`lr` where
    there is only one); `throughput/pairs_per_second` of all devices together, from wall time, with
    all that a step waits for; `gradient_norm`, the L2 norm of all gradients as the optimiser gets
    them, or `gradient_norm/NUMBER` where several optimisers take turns. Between, nothing is
    computed, and the host never waits for a GPU where logging would not make it.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._pairs = 0
        self._due = False
        self._norms: dict[int, Tensor] = {}  # by the optimiser's number
        self._rates: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restart()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # What an epoch begins with, such as opening shards, is no step's.
        self._restart()

    def _restart(self) -> None:
        self._since, self._pairs = time.perf_counter(), 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self._due = bool(trainer.loggers) and (batch_idx + 1) % max(1, every) == 0
        self._norms, self._rates = {}, {}

    def on_before_optimizer_step(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        if not self._due or not trainer.is_global_zero:
            return
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        number = next(
            (
                i
                for i, one in enumerate(trainer.optimizers)
                if getattr(one, "optimizer", one) is optimizer
            ),
            0,
        )
        if gradients:
            self._norms[number] = get_total_norm(gradients)
        # Before the step: the schedule has gone on when the batch ends.
        several = len(trainer.optimizers) > 1
        for i, group in enumerate(optimizer.param_groups):
            names = [str(number)] * several
            if len(optimizer.param_groups) > 1:
                names.append(str(group.get("name", i)))
            self._rates["/".join(["lr", *names])] = float(group["lr"])

    @rank_zero_only
    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._pairs += len(batch["pairs"]) * trainer.world_size
        if not self._due:
            return
        figures = {
            f"gradient_norm/{number}" if len(trainer.optimizers) > 1 else "gradient_norm": float(n)
            for number, n in self._norms.items()
        }
        figures |= self._rates
        seconds = time.perf_counter() - self._since
        figures["throughput/pairs_per_second"] = self._pairs / max(seconds, 1e-9)
        step = trainer.global_step
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=step)
        self._restart()
