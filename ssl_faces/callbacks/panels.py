"""Panels of images to look at during training: PNG files, also logged to W&B."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torchvision.utils import flow_to_image, make_grid

from ssl_faces.callbacks.averaging import averaged
from ssl_faces.common.files import replace_file
from ssl_faces.methods.method import Method, in_eval_mode

LABEL_WIDTH = 96


def panel(images: Mapping[str, Tensor]) -> Image.Image:
    """A sheet with a labelled row for each kind of image and a column for each face.

    Args:
        images: [N, 3, S, S] in [0, 1], or flows [N, 2, h, w], shown as colours (hue is the
            direction, saturation the length).
    """
    size = next(p.shape[-1] for p in images.values() if p.shape[1] == 3)
    rows = []
    for values in images.values():
        values = values.detach().float().cpu()
        if values.shape[1] == 2:
            values = F.interpolate(values, size=(size, size), mode="bilinear")
            values = flow_to_image(values) / 255
        rows.append(make_grid(values, nrow=len(values), padding=2, pad_value=1.0))
    grid = (torch.cat(rows, 1).permute(1, 2, 0) * 255).round().byte().numpy()
    font = ImageFont.load_default(size=12)
    width = max(LABEL_WIDTH, *(math.ceil(font.getlength(name)) + 8 for name in images))
    sheet = Image.new("RGB", (width + grid.shape[1], grid.shape[0]), "white")
    sheet.paste(Image.fromarray(grid), (width, 0))
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(images):
        middle = row * rows[0].shape[1] + rows[0].shape[1] // 2
        draw.text((4, middle), name, "black", font, anchor="lm")
    return sheet


def write_panel(path: Path, images: Mapping[str, Tensor]) -> Image.Image:
    """Write `panel(images)` as PNG."""
    sheet, data = panel(images), io.BytesIO()
    sheet.save(data, "PNG")
    replace_file(path, data.getvalue())
    return sheet


class PanelWriter(pl.Callback):
    """Writes a panel every `every_n_steps` steps and at the end.

    Args:
        out: the run's folder; panels are in `panels/`.
        every_n_steps: number of steps; 0 for a panel at the end only.
        pairs: number of training pairs, always the same ones.
    """

    def __init__(self, out: Path, every_n_steps: int = 500, pairs: int = 6) -> None:
        self.folder = Path(out) / "panels"
        self.every_n_steps = every_n_steps
        self.pairs = pairs
        self.written: list[Path] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0:
            with averaged(trainer, module):
                self._write(trainer, module)

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not self.every_n_steps or trainer.global_step % self.every_n_steps:
            self._write(trainer, module)

    def _write(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Method)
        batch = trainer.datamodule.sample(self.pairs)  # type: ignore[attr-defined]
        batch = {**batch, "pairs": batch["pairs"].to(module.device)}
        # All processes render, since the mean face needs all of them; the first one writes.
        with in_eval_mode(module, module.device), trainer.precision_plugin.forward_context():
            images = module.panels(batch)
        self._save(trainer, images)

    @rank_zero_only
    def _save(self, trainer: pl.Trainer, images: Mapping[str, Tensor]) -> None:
        path = self.folder / f"step_{trainer.global_step:07d}.png"
        sheet = write_panel(path, images)
        self.written.append(path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("panels", [sheet], step=trainer.global_step)
