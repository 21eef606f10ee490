"""What a run prints and logs of its progress: networks, expected time, bar, speed and rates."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.callbacks.progress.tqdm_progress import Tqdm
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ssl_faces.common.durations import duration

# Seconds between updates of the bar: once a minute in a cluster's log.
ON_A_TERMINAL, ELSEWHERE = 0.5, 60.0


class NetworkSummary(pl.Callback):
    """One line for each network with parameters, and one for the sum.

    Replaces Lightning's summary, whose FLOPs would be wrong here; see `ssl-faces bench cost`.
    """

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        networks = {name: child for name, child in pl_module.named_children() if any(_sizes(child))}
        width = max(map(len, networks), default=0)
        for name, network in networks.items():
            print(f"{name:{width}}  {_line(network)} ({type(network).__name__})")
        print(f"parameters in all: {_line(pl_module)}")


def _line(network: nn.Module) -> str:
    trained, frozen = _sizes(network)
    return f"{trained:,} trained, {frozen:,} frozen" if frozen else f"{trained:,} trained"


def _sizes(network: nn.Module) -> tuple[int, int]:
    """Numbers of trained and frozen parameters; shared ones count once."""
    sizes = [(p.numel(), p.requires_grad) for p in network.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, learns in sizes if not learns)


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
        torch.cuda.synchronize()


class StepsBar(TQDMProgressBar):
    """Counts optimiser steps of the whole run, also after a resume.

    Lightning's bars restart in each epoch and ignore `max_steps`. Metrics are only read when the
    bar is drawn, as reading waits for the GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.every = ON_A_TERMINAL if sys.stdout.isatty() else ELSEWHERE
        self._drawn = -math.inf

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        steps = trainer.estimated_stepping_batches
        self.train_progress_bar = Tqdm(
            desc=f"epoch {trainer.current_epoch + 1}",
            total=int(steps) if math.isfinite(steps) else None,
            # The remaining time is estimated from the steps of this process.
            initial=trainer.global_step,
            disable=self.is_disabled,
            dynamic_ncols=True,
            file=sys.stdout,
            bar_format=self.BAR_FORMAT,
        )
        self._drawn = -math.inf

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        bar = self.train_progress_bar
        bar.set_description(f"epoch {trainer.current_epoch + 1}", refresh=False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        if self.is_enabled and time.monotonic() - self._drawn >= self.every:
            self._draw(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Don't redraw at the end of an epoch, unlike Lightning."""

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_enabled:
            self._draw(trainer, pl_module)
        self.train_progress_bar.close()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)  # number of the CSV folder
        return metrics

    def _draw(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        bar = self.train_progress_bar
        bar.n = trainer.global_step
        bar.set_postfix(self.get_metrics(trainer, pl_module), refresh=False)
        bar.refresh()
        self._drawn = time.monotonic()


class StepFigures(pl.Callback):
    """Logs every `log_every_n_steps` batches, without additional waits for a GPU:

    - `learning_rate`, or `learning_rate/NAME` of each parameter group if their rates differ
    - `throughput/pairs_per_second`: of all devices together, by wall time since the last time
    - `gradient_norm`: L2 norm of all gradients (`gradient_norm/NUMBER` for several optimisers)
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._pairs = 0
        self._due = False
        self._norms: dict[int, Tensor] = {}  # by number of the optimiser
        self._rates: dict[str, float] = {}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._restart()

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # The start of an epoch, such as opening shards, doesn't count.
        self._restart()

    def _restart(self) -> None:
        self._since, self._pairs = time.perf_counter(), 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int
    ) -> None:
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self._due = bool(trainer.loggers) and (index + 1) % max(1, every) == 0
        self._norms, self._rates = {}, {}

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if not self._due or not trainer.is_global_zero:
            return
        groups = optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        optimizers = [getattr(o, "optimizer", o) for o in trainer.optimizers]
        number = next((i for i, o in enumerate(optimizers) if o is optimizer), 0)
        if gradients:
            self._norms[number] = get_total_norm(gradients)
        # Now: at the end of the batch the schedule is one step further.
        differ = len({group.get("initial_lr", group["lr"]) for group in groups}) > 1
        for i, group in enumerate(groups):
            names = ["learning_rate", *([str(number)] if len(optimizers) > 1 else [])]
            if differ:
                names.append(str(group.get("name", i)))
            self._rates["/".join(names)] = float(group["lr"])

    @rank_zero_only
    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self._pairs += len(batch["pairs"]) * trainer.world_size
        if not self._due:
            return
        figures = {
            f"gradient_norm/{number}" if len(trainer.optimizers) > 1 else "gradient_norm": float(n)
            for number, n in self._norms.items()
        }
        figures |= self._rates
        seconds = time.perf_counter() - self._since
        figures["throughput/pairs_per_second"] = self._pairs / max(seconds, 1e-9)
        step = trainer.global_step
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=step)
        self._restart()
