"""A quick method for tests of training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.methods.method import Method
from ssl_faces.networks.facecycle_encoder import FaceCycleEncoder


class Twins(Method):
    """Makes the codes of both images of a pair equal, so it learns to collapse.

    Args:
        fails_at: the step with a NaN loss; 0 for none.
        rank: the process where it fails; -1 for all.
        learning_rate: of SGD.
        constant: start with equal codes for all images.
        breaks_wandb_at: the step in which W&B's service is killed; 0 for none.
        signal: sent to this process in step `signal_at`, counted from 1; 0 for none.
    """

    name = "twins"
    adjustable = ("fails_at", "rank", "signal", "signal_at", "breaks_wandb_at")

    def __init__(
        self,
        fails_at: int = 0,
        rank: int = -1,
        learning_rate: float = 0.1,
        constant: bool = False,
        signal: int = 0,
        signal_at: int = 0,
        breaks_wandb_at: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.fails_at, self.rank, self.learning_rate = fails_at, rank, learning_rate
        self.signal, self.signal_at = signal, signal_at
        self.breaks_wandb_at = breaks_wandb_at
        self.encoder = FaceCycleEncoder(width=4, code_dim=32, code_size=32, linear_std=0.04)
        if constant:
            last = [x for x in self.encoder.modules() if isinstance(x, torch.nn.Linear)][-1]
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.ones_(last.bias)

    def training_step(self, batch: Mapping[str, Any], batch_idx: int) -> Tensor:
        if self.signal and self.global_step + 1 == self.signal_at:
            os.kill(os.getpid(), self.signal)
        if self.global_step + 1 == self.breaks_wandb_at:
            kill_wandb()
        codes = [self.encoder(batch["pairs"][:, i], ["expression"])["expression"] for i in (0, 1)]
        # Random noise shows whether anything else draws between steps.
        loss = F.mse_loss(codes[0] + 0.1 * torch.randn_like(codes[0]), codes[1])
        self.log("loss", loss)
        failing = self.global_step + 1 == self.fails_at and self.rank in (-1, self.global_rank)
        return loss * torch.nan if failing else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.learning_rate)

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return {"source": batch["pairs"][:, 0]}


def kill_wandb() -> None:
    """`kill -9` the W&B service of this process, which must exist."""
    services = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"wandb-core" in (place / "cmdline").read_bytes():
                services.append(int(place.name))
        except OSError:
            continue  # it has just ended
    assert services
    for service in services:
        os.kill(service, 9)
