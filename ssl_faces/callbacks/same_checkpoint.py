"""Refuse to resume if some nodes don't have the checkpoint."""

from __future__ import annotations

import pytorch_lightning as pl

from ssl_faces.common.errors import InputError


class SameCheckpoint(pl.Callback):
    """Refuses a run if only some processes have the checkpoint: they would train different weights.

    Args:
        path: this process's checkpoint, if any.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path or ""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        first = trainer.strategy.broadcast(self.path)
        if not trainer.strategy.reduce_boolean_decision(first == self.path, all=True):
            raise InputError(
                "--ckpt_path: not all processes find the run's checkpoint; put the run's folder "
                "where every node sees it at the same path"
            )
