"""`ssl-faces bench step`: the time of a training step of any method on this machine."""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch

from ssl_faces.bench.cost import PASSES_ON, describe
from ssl_faces.bench.result import GIB, Result
from ssl_faces.common.arguments import whole
from ssl_faces.training.cost import StepCLI, run_steps

__all__ = ["PASSES_ON", "add_arguments", "measure"]

_WARM_UP = 3  # steps before the measured ones


def add_arguments(parser: argparse.ArgumentParser) -> None:
    describe(parser, "step", "[--rounds N] [--threads N]")
    parser.add_argument("--rounds", type=whole(1), default=5, help="measured steps (5)")
    parser.add_argument("--threads", type=whole(1, 1024), help="CPU threads (all cores)")


def measure(arguments: argparse.Namespace) -> Result:
    """Time whole training steps (copy to the device, forward, backward, optimiser) on one device.

    Raises:
        InputError: bad settings, as in `ssl-faces fit`.
    """
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.backends.cudnn.benchmark = True
    _TimeCLI.rounds = arguments.rounds
    cli = run_steps(_TimeCLI, arguments.settings)
    seconds, images = median(cli.seconds), 2 * cli.datamodule.batch_size
    device = cli.trainer.strategy.root_device.type
    row = {
        "method": cli.model.name,
        "ms": 1000 * seconds,
        "pictures/s": images / seconds,
        "GFLOP a picture": cli.flop / images / 1e9,
        "GFLOP/s": cli.flop / seconds / 1e9,
    }
    if device == "cuda":
        row["memory, GiB"] = torch.cuda.max_memory_allocated() / GIB
    settings = {
        "settings": " ".join(arguments.settings),
        "precision": cli.trainer_settings.precision,
        "rounds": arguments.rounds,
        "device": device,
        "threads": torch.get_num_threads(),
    }
    return Result("step", settings, [row], details={"seconds": cli.seconds})


class _TimeCLI(StepCLI):
    rounds: int
    flop: int
    seconds: list[float]

    def fit(self, model: Any, datamodule: Any, **_: Any) -> None:
        """Count a step, then time several."""
        self.accelerator = self.trainer_settings.accelerator
        pairs = datamodule.batch_size
        (self.flop,) = self.count_steps([pairs]).flop
        clock = _Clock()
        self.steps([pairs] * (_WARM_UP + self.rounds), clock)
        self.seconds = [b - a for a, b in pairwise(clock.ends[_WARM_UP - 1 :])]


class _Clock(pl.Callback):
    """The time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
