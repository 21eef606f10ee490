"""Print how long the start of a run took, until its first training step."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl


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
        if module.device.type == "cuda":
            import torch

            torch.cuda.synchronize()
        self.clock.mark("step")
        if trainer.is_global_zero:
            # On a new line, not after the progress bar.
            print(f"\n{self.clock}", flush=True)
