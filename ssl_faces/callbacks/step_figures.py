"""Log throughput, gradient norms and learning rates."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torch.nn.utils import get_total_norm


class StepFigures(pl.Callback):
    """Logs every `log_every_n_steps` batches, without additional waits for a GPU:

    - `learning_rate`, or `learning_rate/NAME` of each parameter group if their rates differ
    - `throughput/pairs_per_second`: of all devices together, by wall time since the last time
    - `gradient_norm`: L2 norm of all gradients (`gradient_norm/NUMBER` for several optimisers)
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._pairs = 0
        self._due = False
        self._norms: dict[int, Tensor] = {}  # by number of the optimiser
        self._rates: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._restart()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # The start of an epoch, such as opening shards, doesn't count.
        self._restart()

    def _restart(self) -> None:
        self._since, self._pairs = time.perf_counter(), 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self._due = bool(trainer.loggers) and (index + 1) % max(1, every) == 0
        self._norms, self._rates = {}, {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not self._due or not trainer.is_global_zero:
            return
        groups = optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        optimizers = [getattr(o, "optimizer", o) for o in trainer.optimizers]
        number = next((i for i, o in enumerate(optimizers) if o is optimizer), 0)
        if gradients:
            self._norms[number] = get_total_norm(gradients)
        # Now: at the end of the batch the schedule is one step further.
        differ = len({group.get("initial_lr", group["lr"]) for group in groups}) > 1
        for i, group in enumerate(groups):
            names = ["learning_rate", *([str(number)] if len(optimizers) > 1 else [])]
            if differ:
                names.append(str(group.get("name", i)))
            self._rates["/".join(names)] = float(group["lr"])

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
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
