"""Adam with the learning-rate schedules that methods offer: by epoch, or cosine by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ssl_faces.errors import InputError


def rate_at(epoch: int, learning_rates: Mapping[int, float]) -> float:
    """The rate in force in `epoch`: that of the last key not beyond it."""
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
    """What `configure_optimizers` returns, for all parameters of `module` that are trained.

    Args:
        learning_rates: rate from each epoch on; used when `peak_learning_rate` is None.
        peak_learning_rate: top of a cosine over all steps of the run, after a linear warm-up.
        rate_factors: factors on the rate of submodules, by name; 1 for the rest.

    Raises:
        InputError: a factor for what is no submodule with parameters to train.
    """
    base = 1.0 if peak_learning_rate is None else peak_learning_rate
    betas = (betas[0], betas[1])
    optimizer = torch.optim.Adam(_groups(module, base, rate_factors or {}), lr=base, betas=betas)
    if peak_learning_rate is None:
        by_epoch = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: rate_at(epoch, learning_rates)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": by_epoch}}
    from lightly.utils.scheduler import CosineWarmupScheduler

    steps = int(module.trainer.estimated_stepping_batches)
    cosine = CosineWarmupScheduler(optimizer, min(warmup_steps, max(1, steps // 5)), steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


def _groups(module: nn.Module, base: float, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    named: dict[str, list[nn.Parameter]] = {name: [] for name in (*factors, "")}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            owner = next((k for k in factors if name.startswith(f"{k}.")), "")
            named[owner].append(parameter)
    for name in factors:
        if not named[name]:
            raise InputError(
                f"model.rate_factors: '{name}' has no parameters to train; name some of "
                + ", ".join(n for n, child in module.named_children() if _trains(child))
            )
    return [
        {"params": parameters, "lr": base * factors.get(name, 1.0)}
        for name, parameters in named.items()
        if parameters
    ]


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())
