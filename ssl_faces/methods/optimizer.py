"""The optimiser of methods that train one encoder: cosine schedule, weight decay for weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import nn

from ssl_faces.common.ranges import (
    NonNegativeFloat,
    NonNegativeInt,
    UnitBelow1,
    UnitFloat,
    check_fields,
)
from ssl_faces.methods.learning_rate import cosine_by_step


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimiser with a linear warm-up and a cosine schedule over all steps of the run.

    Attributes:
        name: `adamw`, `sgd` (Nesterov) or `lars` (large batches; You et al. 2017).
        peak_learning_rate: rate after the warm-up.
        weight_decay: of weights; none for biases and normalisation layers.
        momentum: of `sgd` and `lars`.
        betas: of `adamw`.
        warmup_steps: limited to a fifth of the run.
    """

    name: Literal["adamw", "sgd", "lars"] = "adamw"
    peak_learning_rate: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.05
    momentum: UnitFloat = 0.9
    betas: tuple[UnitBelow1, UnitBelow1] = (0.9, 0.999)
    warmup_steps: NonNegativeInt = 200

    def __post_init__(self) -> None:
        check_fields(self, "model.optimizer")


ADAMW = OptimizerSettings()


def cosine(
    module: pl.LightningModule, trained: Iterable[nn.Module], settings: OptimizerSettings
) -> dict[str, Any]:
    """The result of `configure_optimizers` for the networks `trained`."""
    from lightly.models.utils import get_weight_decay_parameters
    from lightly.utils.lars import LARS

    decayed, others = (
        [p for p in group if p.requires_grad] for group in get_weight_decay_parameters(trained)
    )
    groups: list[dict[str, Any]] = [
        {"params": decayed, "name": "weights"},
        {"params": others, "name": "biases_and_norms", "weight_decay": 0.0},
    ]
    rate, decay = settings.peak_learning_rate, settings.weight_decay
    momentum = settings.momentum
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adamw": partial(torch.optim.AdamW, betas=tuple(settings.betas)),
        "sgd": partial(torch.optim.SGD, momentum=momentum, nesterov=momentum > 0),
        "lars": partial(LARS, momentum=momentum),
    }
    optimizer = kinds[settings.name](groups, lr=rate, weight_decay=decay)
    schedule = cosine_by_step(module, optimizer, settings.warmup_steps)
    return {"optimizer": optimizer, "lr_scheduler": schedule}
