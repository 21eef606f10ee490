"""Training runs: LightningCLI with a run folder, checkpoints, panels and loggers that just work."""

from __future__ import annotations

import logging
import os
import re
import sys
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from ssl_faces.callbacks.export import EncoderExport
from ssl_faces.callbacks.panels import PanelWriter
from ssl_faces.data.module import FaceDataModule
from ssl_faces.errors import InputError
from ssl_faces.files import replace_file
from ssl_faces.hardware import fast_bfloat16
from ssl_faces.methods.method import Method, read_checkpoint

CHECKPOINT = "checkpoints/last.ckpt"


class _Parser(LightningArgumentParser):
    """Says what is wrong in one sentence instead of printing the whole usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
        raise InputError(f"configuration: {_shorten(' '.join(lines))}") from ex


def _shorten(message: str) -> str:
    message = re.sub(r"\s+", " ", message)
    return message if len(message) < 600 else message[:600] + " …"


class _SaveConfig(SaveConfigCallback):
    """Keeps the settings that the run came to in its folder, as `config.yaml`."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        text = self.parser.dump(self.config, skip_none=False)
        replace_file(Path(self.config.out) / "config.yaml", text.encode())


class FaceCLI(LightningCLI):
    """`fit` with `--out DIR`: where checkpoints, panels, logs and the encoder go."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--out", type=Path, default=Path("runs/run"), help="the run's folder (one a run)"
        )
        parser.add_argument(
            "--checkpoint_every", type=int, default=500, help="steps between checkpoints"
        )
        parser.add_argument(
            "--panels_every", type=int, default=500, help="steps between picture panels, 0: none"
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        super().parse_arguments(parser, args)
        # Before Lightning reads it for the settings inside.
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path is not None and path != "last":
            read_checkpoint(path)

    def before_instantiate_classes(self) -> None:
        settings = self.config[self.config.subcommand]
        if settings.trainer.precision is None:
            settings.trainer.precision = "bf16-mixed" if fast_bfloat16() else "32-true"
        checkpoint = settings.out / CHECKPOINT
        wanted = settings.get("ckpt_path")
        if wanted is None and checkpoint.exists():
            raise InputError(
                f"{settings.out}: holds a run already; add --ckpt_path last to go on with it, or "
                "choose another --out"
            )
        if wanted == "last":
            # An absent checkpoint starts from the beginning, so that one command does both.
            settings.ckpt_path = str(checkpoint) if checkpoint.exists() else None

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        settings = self.config_init[self.config_init.subcommand]
        if settings.trainer.logger is None:
            kwargs["logger"] = default_loggers(settings.out)
        kwargs["default_root_dir"] = settings.out
        self.trainer_defaults["callbacks"] = [
            LearningRateMonitor(),
            PanelWriter(settings.out, settings.panels_every),
            EncoderExport(settings.out),
            ModelCheckpoint(
                dirpath=settings.out / "checkpoints",
                every_n_train_steps=settings.checkpoint_every,
                save_top_k=0,
                save_last=True,
                enable_version_counter=False,
            ),
        ]
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        # The layout that convolutions are fastest in.
        self.model.to(memory_format=torch.channels_last)
        path = self.config_init[self.config_init.subcommand].get("ckpt_path")
        if path is not None:
            read_checkpoint(path, self.model.name)


def default_loggers(out: Path) -> list[Logger]:
    """CSV files, and W&B without an account or a question (offline unless WANDB_MODE says so)."""
    loggers: list[Logger] = [CSVLogger(out, name="csv")]
    mode = os.environ.get("WANDB_MODE", "offline")
    if mode != "disabled":
        os.environ.setdefault("WANDB_SILENT", "true")
        identity = out / "wandb_id"
        if not identity.exists():
            replace_file(identity, uuid.uuid4().hex[:8].encode())
        loggers.append(
            WandbLogger(
                project="ssl-faces",
                name=out.name,
                save_dir=out,
                offline=mode == "offline",
                id=identity.read_text(),
                resume="allow",
            )
        )
    return loggers


# What Lightning warns of and is as it should be here.
_NOISE = (
    "treespec",
    "does not have many workers",
    "Checkpoint directory .* exists and is not empty",
    "save_last.*save_top_k",
    "LightningCLI's args parameter",
    "Your `IterableDataset` has `__len__` defined",
    # Ours is: the data module's state has the place in the epoch.
    "You're resuming from a checkpoint that ended before the epoch ended",
    "Precision .* is not supported by the model summary",
    "The number of training batches .* is smaller than the logging interval",
)


def _no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces` with these arguments.

    Raises:
        InputError: bad input.
    """
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=f".*{message}")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_tip)
    FaceCLI(
        Method,
        FaceDataModule,
        subclass_mode_model=True,
        save_config_callback=_SaveConfig,
        seed_everything_default=0,
        parser_class=_Parser,
        auto_configure_optimizers=False,
        trainer_defaults={"log_every_n_steps": 20},
        args=list(arguments),
    )
    sys.stdout.flush()
