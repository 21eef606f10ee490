"""Stops a resume that not all nodes are part of."""

from __future__ import annotations

import pytorch_lightning as pl

from ssl_faces.common.errors import InputError


class SameCheckpoint(pl.Callback):
    """Refuses a run of which some processes go on from a checkpoint and others from nothing.

    They would train on as if all was well, each from its own weights.

    Args:
        path: the checkpoint that this process found, if any.
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
