"""An exponential moving average of the weights, which is probed and saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AverageWeights(WeightAveraging):
    """Averages the weights and running statistics of a method over its steps.

    After step n (from 1) the average is d·average + (1 - d)·weights with d = min(decay, n/(n + 9)),
    so that short runs forget their first weights; it starts as the weights after the first step.
    Checkpoints have the average as `state_dict` and the weights to resume from as
    `current_model_state`. After training, the method has the average.

    Args:
        decay: above 0 and below 1.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay

    def _average(
        self, averages: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor
    ) -> None:
        if not averages[0].is_floating_point():
            for average, value in zip(averages, weights, strict=True):
                average.copy_(value)
            return
        n = int(count) + 1  # `count` were averaged before
        get_ema_multi_avg_fn(min(self.decay, n / (n + 9)))(list(averages), list(weights), count)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)


def averaging(trainer: pl.Trainer) -> AverageWeights | None:
    """The callback of a trainer, if it has one."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((c for c in callbacks if isinstance(c, AverageWeights)), None)


@contextmanager
def averaged(trainer: pl.Trainer, module: pl.LightningModule) -> Iterator[None]:
    """The method has its averaged weights within this context, if they are averaged."""
    callback = averaging(trainer)
    if callback is None:
        yield
        return
    callback._swap_models(module)
    try:
        yield
    finally:
        callback._swap_models(module)
