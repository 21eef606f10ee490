"""Learning-rate schedules by epoch or by step, and Adam with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from ssl_faces.common.errors import InputError

ADAM_ARGUMENTS = (
    "betas",
    "learning_rates",
    "peak_learning_rate",
    "warmup_steps",
    "rate_factors",
)
"""Arguments of the methods that use `adam`, which it takes."""


class Schedule(LambdaLR):
    """Learning rates that follow from the step (or the epoch) and the run's settings alone.

    A checkpoint gives only the step. All else of the optimiser's parameter groups, such as weight
    decay, is that of the settings: torch's schedules would take it from the checkpoint, and
    ignore what a resumed run asks for.

    Args:
        optimizer: has the settings' values.
        factor: of the peak rate, by step or epoch.
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
    """A linear warm-up and a cosine to a thousandth of the peak over all steps of the run, as
    Lightning takes it.

    A resumed run that is given more steps follows the cosine of the new number.

    Args:
        warmup_steps: at most a fifth of the run.
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
            raise InputError(
                f"model.rate_factors: '{name}' has no parameters to train; name some of "
                + ", ".join(n for n, child in module.named_children() if _trains(child))
            )
    return [
        {"params": parameters, "lr": base * factors.get(name, 1.0), "name": name or "rest"}
        for name, parameters in named.items()
        if parameters
    ]


def _trains(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())
