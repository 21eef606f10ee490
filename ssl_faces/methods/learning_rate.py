"""Adam with the learning-rate schedules that methods offer: by epoch, or cosine by step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn


def rate_at(epoch: int, learning_rates: Mapping[int, float]) -> float:
    """The rate in force in `epoch`: that of the last key not beyond it."""
    started = [start for start in learning_rates if start <= epoch]
    return learning_rates[max(started)] if started else 0.0


def adam(
    module: pl.LightningModule,
    parameters: Iterable[nn.Parameter],
    betas: tuple[float, float],
    learning_rates: Mapping[int, float],
    peak_learning_rate: float | None,
    warmup_steps: int,
) -> dict[str, Any]:
    """What `configure_optimizers` returns.

    Args:
        learning_rates: rate from each epoch on; used when `peak_learning_rate` is None.
        peak_learning_rate: top of a cosine over all steps of the run, after a linear warm-up.
    """
    if peak_learning_rate is None:
        optimizer = torch.optim.Adam(parameters, lr=1.0, betas=(betas[0], betas[1]))
        by_epoch = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: rate_at(epoch, learning_rates)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": by_epoch}}
    from lightly.utils.scheduler import CosineWarmupScheduler

    optimizer = torch.optim.Adam(parameters, lr=peak_learning_rate, betas=(betas[0], betas[1]))
    steps = int(module.trainer.estimated_stepping_batches)
    cosine = CosineWarmupScheduler(optimizer, min(warmup_steps, max(1, steps // 5)), steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}
