"""Print how long a run took until its first training step, and how long it is expected to take."""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl

from ssl_faces.common.durations import duration


class StartClock:
    """Seconds of each part of the start, in order.

    Args:
        started: `time.perf_counter()` at the start of the command.
    """

    def __init__(self, started: float) -> None:
        self.started = started
        self.parts: dict[str, float] = {}
        self._last = started

    def mark(self, part: str) -> None:
        """Add the time since the last mark to this part."""
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.parts.items())
        return f"first step after {self._last - self.started:.1f} s: {parts}"


class FirstStep(pl.Callback):
    """Prints one line after the first step."""

    def __init__(self, clock: StartClock) -> None:
        self.clock = clock
        self._done = False

    def setup(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        # Includes opening or building packs, W&B, and waiting for other processes.
        self.clock.mark("faces and logs")

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.clock.mark("optimiser")

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int
    ) -> None:
        if not self._done:
            self.clock.mark("first batch")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if self._done:
            return
        self._done = True
        _wait_for(module)
        self.clock.mark("step")
        if trainer.is_global_zero:
            # On a new line, not after the progress bar.
            print(f"\n{self.clock}", flush=True)


class ExpectedTime(pl.Callback):
    """Prints one line about the time that the run will take, by its first steps after the very
    first: `MEASURED` of them, or those within `PATIENCE` seconds."""

    MEASURED = 10
    PATIENCE = 30.0

    def __init__(self) -> None:
        self._since: tuple[int, float] | None = None
        self._done = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if self._done or not trainer.is_global_zero:
            return
        step = trainer.global_step
        if self._since is None:
            _wait_for(module)
            self._since = step, time.perf_counter()
        steps, seconds = step - self._since[0], time.perf_counter() - self._since[1]
        if steps < 1 or (steps < self.MEASURED and seconds < self.PATIENCE):
            return
        self._done = True
        _wait_for(module)
        each = (time.perf_counter() - self._since[1]) / steps
        left = trainer.estimated_stepping_batches - step
        if left > 0 and math.isfinite(left):
            print(
                f"\nabout {duration(left * each)} left: {left:,.0f} steps of {each:.2g} s, by the "
                "first ones; panels, probes and checkpoints take more",
                flush=True,
            )


def _wait_for(module: pl.LightningModule) -> None:
    """Wait for a GPU's work."""
    if module.device.type == "cuda":
        import torch

        torch.cuda.synchronize()
