"""Optimisers and learning-rate schedules; weights decay, biases and normalisation layers don't."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import (
    NonNegativeFloat,
    NonNegativeInt,
    UnitBelow1,
    UnitFloat,
    check_fields,
)

ADAM_ARGUMENTS = (
    "betas",
    "learning_rates",
    "peak_learning_rate",
    "warmup_steps",
    "rate_factors",
)
"""Arguments that methods pass on to `adam`."""


class Schedule(LambdaLR):
    """Learning rates that only depend on the step (or epoch) and the current settings.

    Only the step is restored from a checkpoint. torch's schedules would restore rates and weight
    decay too, and so ignore new settings of a resumed run.

    Args:
        factor: factor on the peak rate, by step or epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, factor: Callable[[int], float]) -> None:
        super().__init__(optimizer, factor)
        self._factor = factor
        self._settings = [
            {name: value for name, value in group.items() if name not in ("params", "lr")}
            for group in optimizer.param_groups
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        factor = self._factor(self.last_epoch)
        self._last_lr = [rate * factor for rate in self.base_lrs]
        groups = zip(self.optimizer.param_groups, self._settings, self._last_lr, strict=True)
        for group, settings, rate in groups:
            group.update(settings, lr=rate)


def cosine_by_step(
    module: pl.LightningModule, optimizer: torch.optim.Optimizer, warmup_steps: int
) -> dict[str, Any]:
    """A linear warm-up, then a cosine to 1/1000 of the peak over all steps of the run, as a
    Lightning scheduler. A run resumed with more steps follows the new cosine.

    Args:
        warmup_steps: limited to a fifth of the run.
    """
    from lightly.utils.scheduler import cosine_warmup_schedule

    steps = int(module.trainer.estimated_stepping_batches)
    warmup = min(warmup_steps, max(1, steps // 5))

    def factor(step: int) -> float:
        return cosine_warmup_schedule(
            step=min(step, steps),
            max_steps=steps,
            start_value=1.0,
            end_value=0.001,
            warmup_steps=warmup,
            warmup_start_value=0.0,
        )

    return {"scheduler": Schedule(optimizer, factor), "interval": "step"}


def rate_at(epoch: int, learning_rates: Mapping[int, float]) -> float:
    """The rate in `epoch`: that of the last key up to it."""
    started = [start for start in learning_rates if start <= epoch]
    return learning_rates[max(started)] if started else 0.0


def adam(
    module: pl.LightningModule,
    betas: tuple[float, float],
    learning_rates: Mapping[int, float],
    peak_learning_rate: float | None,
    warmup_steps: int,
    rate_factors: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The result of `configure_optimizers`: Adam for all trainable parameters of `module`.

    Args:
        learning_rates: rates by start epoch; used if `peak_learning_rate` is None.
        peak_learning_rate: peak of a cosine over all steps, after a linear warm-up.
        rate_factors: factors on the rates of submodules, by name; 1 for the rest.

    Raises:
        InputError: a factor for a name without trainable parameters.
    """
    base = 1.0 if peak_learning_rate is None else peak_learning_rate
    betas = (betas[0], betas[1])
    optimizer = torch.optim.Adam(_groups(module, base, rate_factors or {}), lr=base, betas=betas)
    if peak_learning_rate is None:
        by_epoch = Schedule(optimizer, lambda epoch: rate_at(epoch, learning_rates))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": by_epoch}}
    schedule = cosine_by_step(module, optimizer, warmup_steps)
    return {"optimizer": optimizer, "lr_scheduler": schedule}


def _groups(module: nn.Module, base: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    named: dict[str, list[nn.Parameter]] = {name: [] for name in (*factors, "")}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            owner = next((k for k in factors if name.startswith(f"{k}.")), "")
            named[owner].append(parameter)
    for name in factors:
        if not named[name]:
            children = module.named_children()
            trained = [n for n, c in children if any(p.requires_grad for p in c.parameters())]
            raise InputError(
                f"model.rate_factors: '{name}' has no parameters to train; name some of "
                + ", ".join(trained)
            )
    return [
        {"params": parameters, "lr": base * factors.get(name, 1.0), "name": name or "rest"}
        for name, parameters in named.items()
        if parameters
    ]


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
        "adamw": partial(torch.optim.AdamW, betas=(settings.betas[0], settings.betas[1])),
        "sgd": partial(torch.optim.SGD, momentum=momentum, nesterov=momentum > 0),
        "lars": partial(LARS, momentum=momentum),
    }
    optimizer = kinds[settings.name](groups, lr=rate, weight_decay=decay)
    schedule = cosine_by_step(module, optimizer, settings.warmup_steps)
    return {"optimizer": optimizer, "lr_scheduler": schedule}
