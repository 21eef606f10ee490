"""A head as Lightning trains it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from linear_probe.heads.head import Head
from linear_probe.heads.sam import SAMAdamW
from ssl_faces.common.ranges import NonNegativeFloat, PositiveInt, check_fields


@dataclass(frozen=True)
class HeadTraining:
    """How a head is trained: AdamW, one cycle of the learning rate over all steps (Smith & Topin
    2018); nothing is chosen while it runs.

    Attributes:
        epochs: over the training part.
        steps: of training, in place of `epochs`; None: so many epochs.
        batch_size: pictures a step, on all devices together.
        peak_learning_rate: of the cycle.
        weight_decay: of weights; biases and normalisation layers have none.
        sam_radius: of sharpness-aware minimisation, at the cost of two steps each; 0 is none.
        balanced: weigh each class by the largest class's count over its own.
    """

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 64
    peak_learning_rate: NonNegativeFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.05
    sam_radius: NonNegativeFloat = 0.0
    balanced: bool = False
    steps: PositiveInt | None = None

    def __post_init__(self) -> None:
        check_fields(self, "training")

    def __str__(self) -> str:
        """How long it is, in words."""
        return f"{self.epochs} epochs" if self.steps is None else f"{self.steps:,} steps"


class HeadModule(pl.LightningModule):
    """Trains a head on batches of (uint8 [B, 3, R, R], labels [B] or [B, predictions]).

    What is drawn for a batch follows from the seed and the step, so that a run that was stopped
    equals an uninterrupted one.
    """

    def __init__(self, head: Head, settings: HeadTraining, seed: int) -> None:
        super().__init__()
        self.head, self.settings, self.seed = head, settings, seed
        self.name = head.name

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        place = self.global_step * self.trainer.world_size + self.global_rank
        torch.manual_seed(self.seed + 7919 * (place + 1))
        self.head.begin_step(self.global_step / int(self.trainer.estimated_stepping_batches))
        # On CPUs networks of small kernels train on half as many pictures again a second.
        varied = self.head.vary(images).to(memory_format=torch.channels_last)
        terms = self.head.losses(varied, labels, self.settings.balanced)
        total = torch.stack(list(terms.values())).sum()
        self.log("loss", total, prog_bar=True)
        if len(terms) > 1:
            self.log_dict({f"loss/{name}": value for name, value in terms.items()})
        return total

    def configure_optimizers(self) -> Any:
        trained = [(n, p) for n, p in self.head.named_parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for _, p in trained if p.ndim > 1]},
            {"params": [p for _, p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        s = self.settings
        usual: dict[str, Any] = {"lr": s.peak_learning_rate, "weight_decay": s.weight_decay}
        optimizer = (
            SAMAdamW(groups, s.sam_radius, **usual)
            if s.sam_radius
            else torch.optim.AdamW(groups, **usual)
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            s.peak_learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=0.15,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
