"""Says what the time up to the first training step went to."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl


class StartClock:
    """Seconds of the parts of a start, in their order.

    Args:
        started: `time.perf_counter()` when the command began.
    """

    def __init__(self, started: float) -> None:
        self.started = started
        self.parts: dict[str, float] = {}
        self._last = started

    def mark(self, part: str) -> None:
        """What has passed since the last mark was this part's."""
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.parts.items())
        return f"first step after {self._last - self.started:.1f} s: {parts}"


class FirstStep(pl.Callback):
    """Prints one line when the first step is done.

    Args:
        clock: one that has the parts before the trainer's.
    """

    def __init__(self, clock: StartClock) -> None:
        self.clock = clock
        self._told = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Packs are opened or made, W&B is begun and other processes waited for before this.
        self.clock.mark("faces and logs")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.clock.mark("optimiser")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._told:
            self.clock.mark("first batch")

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if self._told:
            return
        self._told = True
        if pl_module.device.type == "cuda":
            import torch

            torch.cuda.synchronize()
        self.clock.mark("step")
        if trainer.is_global_zero:
            # On a line of its own, not behind the progress bar's.
            print(f"\n{self.clock}", flush=True)
