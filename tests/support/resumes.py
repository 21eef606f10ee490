"""Runs that are killed or stopped at any step, and comparisons of their checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from hypothesis import strategies as st

from ssl_faces.callbacks.stop_signals import RunStopped

# Numbers of steps between starts and kills.
KILLS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


class Killed(BaseException):
    """Simulates `kill -9`."""


def kill_at(step: int | None) -> Callable[..., None]:
    """An `on_train_batch_end` that kills the run in this step, after its checkpoint if any."""

    def hook(module: pl.LightningModule, *_: Any) -> None:
        if module.global_step == step:
            raise Killed

    return hook


def until_finished(kills: list[int], step: Callable[[], int], run: Callable[[int | None], None]):  # type: ignore[no-untyped-def]
    """Call `run` with the step to be killed at for each of `kills`, then with None.

    Args:
        step: returns the step of the last checkpoint.
    """
    for steps in kills:
        try:
            run(step() + steps)
        except (Killed, RunStopped):
            continue
    run(None)


def assert_same(one: Any, other: Any, at: str = "checkpoint") -> None:
    """Two checkpoints are bitwise equal."""
    assert type(one) is type(other), at
    if isinstance(one, dict):
        assert one.keys() == other.keys(), at
        for key, value in one.items():
            assert_same(value, other[key], f"{at}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), at
        for i, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_same(first, second, f"{at}[{i}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), at
    else:
        assert one == other, at
