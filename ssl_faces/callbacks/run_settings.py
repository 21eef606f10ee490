"""Save a run's settings in its folder and its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only

from ssl_faces.common.files import replace_file
from ssl_faces.training.resume import CHANGES_KEY, CONFIG_KEY


class RunSettings(pl.Callback):
    """Writes `config.yaml` when training starts, and its text to each checkpoint.

    Args:
        out: the run's folder.
        config: the settings as YAML.
        changes: settings changed on resume.
    """

    def __init__(self, out: Path, config: str, changes: list[dict[str, Any]]) -> None:
        self.out = out
        self.config = config
        self.changes = changes

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        replace_file(self.out / "config.yaml", self.config.encode())

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[CONFIG_KEY] = self.config
        checkpoint[CHANGES_KEY] = self.changes
