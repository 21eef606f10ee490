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


def _at_least(least: float) -> Callable[[Any], bool]:
    return lambda value: value >= least


def _count_or_none(value: int) -> bool:
    return value == -1 or value >= 1


def _share_or_count(value: float) -> bool:
    return value >= 1 if isinstance(value, int) else 0 < value <= 1


def _strategy(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return value == "auto" or (value.startswith("ddp") and value in StrategyRegistry)


def _devices(value: object) -> bool:
    count = count_devices(value)
    return value in (-1, "-1", "auto") if count is None else count > 0


def _number_of_processes(devices: object) -> bool:
    text = str(devices).strip()
    return text == "auto" or text.isdigit()


def _duration(value: Any) -> bool:
    try:
        left = Timer(value).time_remaining()
    except (MisconfigurationException, TypeError, ValueError):
        return False
    return left is not None and left > 0


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("max_steps", _count_or_none, "give at least 1 step, or -1 to count by --trainer.max_epochs"),
    ("max_epochs", _count_or_none, "give at least 1 epoch, or -1 to count by --trainer.max_steps"),
    ("min_steps", _at_least(0), "give 0 steps or more"),
    ("min_epochs", _at_least(0), "give 0 epochs or more"),
    ("max_time", _duration, "give a time as DD:HH:MM:SS, such as 00:12:00:00"),
    (
        "limit_train_batches",
        _share_or_count,
        "give at least 1 batch an epoch, or a share of the epoch above 0.0 and up to 1.0",
    ),
    (
        "overfit_batches",
        lambda value: value == 0,
        "not supported; give --trainer.limit_train_batches for epochs of a few batches",
    ),
    ("accumulate_grad_batches", _at_least(1), "give at least 1 batch a step"),
    ("gradient_clip_val", _at_least(0), "give 0 or more"),
    ("gradient_clip_algorithm", lambda value: value in ("norm", "value"), "give norm or value"),
    ("log_every_n_steps", _at_least(0), "give at least 1 step, or 0 to log nothing"),
    ("reload_dataloaders_every_n_epochs", _at_least(0), "give 0 or more"),
    (
        "precision",
        lambda value: str(value) in _PRECISIONS,
        f"not supported; give one of {', '.join(_PRECISIONS[:3])}",
    ),
    (
        "enable_checkpointing",
        lambda value: value is not False,
        "not supported, as a stopped run resumes from its checkpoint; give a high "
        "--checkpoint_every to save at the end only",
    ),
    ("barebones", lambda value: not value, "not supported; leave it out"),
    (
        "fast_dev_run",
        lambda value: not value,
        "not supported; give --trainer.max_steps 1 and an --out to delete afterwards",
    ),
    ("num_nodes", _at_least(1), "give at least 1 machine"),
    ("devices", _devices, "give at least 1 device, or auto for all GPUs"),
    ("strategy", _strategy, "not supported; give auto, ddp, or a variant of ddp"),
    (
        "profiler",
        lambda value: isinstance(value, Profiler) or value in ("simple", "advanced", "pytorch"),
        "unknown; give simple, advanced or pytorch",
    ),
    (
        "accelerator",
        lambda value: not isinstance(value, str) or value in ("auto", "cpu", "gpu", "cuda", "mps"),
        "not supported; give auto, cpu or gpu",
    ),
)
"""Name, check and advice of each setting; None (not set) is always valid."""


def check_trainer(settings: Any) -> None:
    """Refuse unsupported `trainer.*` settings.

    Args:
        settings: of the trainer, as parsed.

    Raises:
        InputError: names the first such setting.
    """
    for name, valid, advice in _RULES:
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
    if on_cpu and not _number_of_processes(settings.devices):
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
