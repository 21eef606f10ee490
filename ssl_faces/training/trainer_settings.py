"""Checks of the `trainer.*` settings before a run starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ssl_faces.common.errors import InputError
from ssl_faces.training.launch import count_devices

_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16")
_HALF = ("16-mixed", "16")


def _devices(value: object) -> bool:
    count = count_devices(value)
    return value in (-1, "-1", "auto") if count is None else count > 0


def _strategy(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return value == "auto" or (value.startswith("ddp") and value in StrategyRegistry)


def _duration(value: Any) -> bool:
    try:
        left = Timer(value).time_remaining()
    except (MisconfigurationException, TypeError, ValueError):
        return False
    return left is not None and left > 0


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_steps": (
        lambda v: v == -1 or v >= 1,
        "give at least 1 step, or -1 to count by --trainer.max_epochs",
    ),
    "max_epochs": (
        lambda v: v == -1 or v >= 1,
        "give at least 1 epoch, or -1 to count by --trainer.max_steps",
    ),
    "min_steps": (lambda v: v >= 0, "give 0 steps or more"),
    "min_epochs": (lambda v: v >= 0, "give 0 epochs or more"),
    "max_time": (_duration, "give a time as DD:HH:MM:SS, such as 00:12:00:00"),
    "limit_train_batches": (
        lambda v: v >= 1 if isinstance(v, int) else 0 < v <= 1,
        "give at least 1 batch an epoch, or a share of the epoch above 0.0 and up to 1.0",
    ),
    "overfit_batches": (
        lambda v: v == 0,
        "not supported; give --trainer.limit_train_batches for epochs of a few batches",
    ),
    "accumulate_grad_batches": (lambda v: v >= 1, "give at least 1 batch a step"),
    "gradient_clip_val": (lambda v: v >= 0, "give 0 or more"),
    "gradient_clip_algorithm": (lambda v: v in ("norm", "value"), "give norm or value"),
    "log_every_n_steps": (lambda v: v >= 0, "give at least 1 step, or 0 to log nothing"),
    "reload_dataloaders_every_n_epochs": (lambda v: v >= 0, "give 0 or more"),
    "precision": (
        lambda v: str(v) in _PRECISIONS,
        f"not supported; give one of {', '.join(_PRECISIONS[:3])}",
    ),
    "enable_checkpointing": (
        lambda v: v is not False,
        "not supported, as a stopped run resumes from its checkpoint; give a high "
        "--checkpoint_every to save at the end only",
    ),
    "barebones": (lambda v: not v, "not supported; leave it out"),
    "fast_dev_run": (
        lambda v: not v,
        "not supported; give --trainer.max_steps 1 and an --out to delete afterwards",
    ),
    "num_nodes": (lambda v: v >= 1, "give at least 1 machine"),
    "devices": (_devices, "give at least 1 device, or auto for all GPUs"),
    "strategy": (_strategy, "not supported; give auto, ddp, or a variant of ddp"),
    "profiler": (
        lambda v: isinstance(v, Profiler) or v in ("simple", "advanced", "pytorch"),
        "unknown; give simple, advanced or pytorch",
    ),
    "accelerator": (
        lambda v: not isinstance(v, str) or v in ("auto", "cpu", "gpu", "cuda", "mps"),
        "not supported; give auto, cpu or gpu",
    ),
}
"""Check and advice for each setting; None (not set) is always valid."""


def check_trainer(settings: Any) -> None:
    """Refuse unsupported `trainer.*` settings. Raises InputError: names the first such setting."""
    for name, (valid, advice) in _RULES.items():
        value = settings.get(name)
        if value is not None and not valid(value):
            raise InputError(f"--trainer.{name} {value}: {advice}")
    gpu = torch.cuda.is_available()
    accelerator = settings.accelerator
    if (accelerator == "cuda" and not gpu) or (
        accelerator in ("gpu", "mps") and not gpu and not torch.backends.mps.is_available()
    ):
        raise InputError(
            f"--trainer.accelerator {accelerator}: this machine has no GPU; give auto or cpu"
        )
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not gpu)
    devices = str(settings.devices).strip()
    if on_cpu and not (devices == "auto" or devices.isdigit()):
        raise InputError(
            f"--trainer.devices {settings.devices}: only for GPUs; give the number of processes "
            "that train on the CPU, such as 1"
        )
    if str(settings.precision) in _HALF and (accelerator == "cpu" or not gpu):
        raise InputError(
            f"--trainer.precision {settings.precision}: only for CUDA GPUs; give bf16-mixed or "
            "32-true"
        )
    endless = settings.max_epochs == -1 or (settings.max_epochs is None and settings.max_time)
    if settings.max_steps == -1 and endless:
        raise InputError(
            "--trainer.max_steps -1: the learning rate's schedule needs the number of steps; give "
            "--trainer.max_steps or --trainer.max_epochs (with --trainer.max_time the run still "
            "ends in time)"
        )
