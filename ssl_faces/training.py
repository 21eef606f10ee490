"""Training runs: LightningCLI with a run folder, checkpoints, panels and loggers that just work."""

from __future__ import annotations

import logging
import os
import sys
import uuid
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ProgressBar
from pytorch_lightning.cli import (
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    SaveConfigCallback,
)
from pytorch_lightning.loggers import CSVLogger, Logger
from pytorch_lightning.strategies import DDPStrategy

from ssl_faces.callbacks.export import EncoderExport
from ssl_faces.callbacks.finite_loss import FiniteLoss
from ssl_faces.callbacks.first_step import FirstStep, StartClock
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.callbacks.online_probe import OnlineProbe
from ssl_faces.callbacks.panels import PanelWriter
from ssl_faces.callbacks.same_checkpoint import SameCheckpoint
from ssl_faces.callbacks.step_figures import StepFigures
from ssl_faces.callbacks.steps_bar import StepsBar
from ssl_faces.callbacks.stop_signals import StopSignals
from ssl_faces.data.module import FaceDataModule
from ssl_faces.data.online import PICTURES
from ssl_faces.errors import InputError
from ssl_faces.files import replace_file
from ssl_faces.hardware import fast_bfloat16
from ssl_faces.launch import Launch, count_devices, find_launch, is_first
from ssl_faces.methods.method import Method, read_checkpoint
from ssl_faces.passwords import refuse_passwords
from ssl_faces.ranges import GlobalSeed, NonNegativeInt, PositiveInt, check_value
from ssl_faces.run_record import RunRecord
from ssl_faces.settings_parser import SettingsErrors
from ssl_faces.wandb_logger import CarefulWandbLogger, finish_wandb, swept, wandb_mode

CHECKPOINT = "checkpoints/last.ckpt"

# Of DistributedDataParallel, where nothing else is asked for: gradients live in the buckets that
# are sent, which spares their copy. More choices: `ssl-faces bench scale`.
DDP: dict[str, Any] = {"gradient_as_bucket_view": True}


class _Parser(SettingsErrors, LightningArgumentParser):
    """Reads the settings of `fit`."""


class _SaveConfig(SaveConfigCallback):
    """Keeps the settings that the run came to in its folder, as `config.yaml`."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        text = self.parser.dump(self.config, skip_none=False)
        replace_file(Path(self.config.out) / "config.yaml", text.encode())


class FaceCLI(LightningCLI):
    """`fit` with `--out DIR`: where checkpoints, panels, logs and the encoder go."""

    clock: StartClock
    record: RunRecord | None = None
    """Of the run's folder, where this process is the one to write it."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--out",
            type=Path,
            default=default_out(),
            help="the run's folder (one a run; under `wandb agent` runs/SWEEP/RUN by default)",
        )
        parser.add_argument(
            "--checkpoint_every", type=PositiveInt, default=500, help="steps between checkpoints"
        )
        parser.add_argument(
            "--panels_every",
            type=NonNegativeInt,
            default=500,
            help="steps between picture panels, 0: none",
        )
        parser.add_argument(
            "--probe_every",
            type=NonNegativeInt,
            default=1000,
            help="steps between online probes of the encoder and checks for collapse, 0: none",
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        super().parse_arguments(parser, args)
        seed = self.config[self.config.subcommand].seed_everything
        if not isinstance(seed, bool):
            check_value(GlobalSeed, seed, "seed_everything")
        # Before anything is written.
        refuse_passwords(self.config[self.config.subcommand].as_dict())
        self.launch = find_launch()
        # Before Lightning reads it for the settings inside.
        path = self.config[self.config.subcommand].get("ckpt_path")
        if path is not None and path != "last":
            read_checkpoint(path)

    def before_instantiate_classes(self) -> None:
        self.clock.mark("settings")
        settings = self.config[self.config.subcommand]
        if self.launch is not None:
            trainer = settings.trainer
            self.launch.check(
                trainer.devices, trainer.num_nodes, trainer.strategy, trainer.accelerator
            )
            if is_first():
                print(self.launch)
        if settings.data.online_pictures is None:
            settings.data.online_pictures = PICTURES if settings.probe_every else 0
        if "weights_only" in settings:  # of Lightning from 2.6 on
            settings.weights_only = True
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

    @staticmethod
    def config_seed(settings: Any) -> dict[str, Any]:
        """Of weights and augmentation, and of the order of pairs."""
        return {"seed_everything": settings.get("seed_everything"), "data": settings.data.seed}

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        self.clock.mark("networks")
        given = self.config[self.config.subcommand]
        if self.record is not None:
            # Settings that a method or the data refuse leave no folder behind.
            self.record.begin(
                given.out, method=given.model.class_path, seed=self.config_seed(given)
            )
        settings = self.config_init[self.config_init.subcommand]
        if settings.trainer.logger is None:
            kwargs["logger"] = default_loggers(settings.out)
        kwargs["default_root_dir"] = settings.out
        # Not in `config`, which is kept: the run may go on under another launcher.
        kwargs |= devices_and_strategy(settings.trainer, self.launch)
        signals = StopSignals()
        bar = settings.trainer.enable_progress_bar is not False and not _has_bar(settings.trainer)
        self.trainer_defaults["callbacks"] = [
            signals,
            SameCheckpoint(settings.get("ckpt_path")),
            FirstStep(self.clock),
            # Before whatever saves weights.
            FiniteLoss(settings.out / CHECKPOINT),
            LearningRateMonitor(),
            StepFigures(),
            PanelWriter(settings.out, settings.panels_every),
            # Before the card that its figures go to.
            OnlineProbe(settings.probe_every),
            # Between who prints a line when training starts and who does when it ends.
            *([StepsBar()] if bar else []),
            EncoderExport(settings.out),
            LastCheckpoint(settings.out / CHECKPOINT, settings.checkpoint_every, signals),
        ]
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        # The layout that convolutions are fastest in.
        self.model.to(memory_format=torch.channels_last)
        path = self.config_init[self.config_init.subcommand].get("ckpt_path")
        if path is not None:
            read_checkpoint(path, self.model.name)
        self.clock.mark("trainer")


def _has_bar(settings: Any) -> bool:
    """Whether the trainer's settings ask for a progress bar of the user's choice."""
    callbacks = settings.callbacks or []
    several = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(isinstance(one, ProgressBar) for one in several)


def default_out() -> Path:
    """The folder of a run that names none: under `wandb agent` one for each run of the sweep."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    return Path("runs", f"sweep_{sweep}", run) if sweep and run else Path("runs/run")


def devices_and_strategy(settings: Any, launch: Launch | None) -> dict[str, Any]:
    """The trainer's arguments that follow from the launcher, and from there being many devices.

    Args:
        settings: of the trainer, as given.

    Raises:
        InputError: the launcher started more processes than there are GPUs.
    """
    found: dict[str, Any] = {}
    gpus = _gpus(settings)
    devices, nodes = count_devices(settings.devices), settings.num_nodes
    if launch is not None:
        devices, nodes = launch.devices, launch.nodes
        found = {"devices": devices, "num_nodes": nodes}
        if launch.accelerator and settings.accelerator == "auto":
            gpus = launch.accelerator in ("gpu", "cuda") and gpus
            found["accelerator"] = launch.accelerator
        if gpus and gpus < devices:
            raise InputError(
                f"{launch.launcher} started {devices} processes on this node, each of which sees "
                f"{gpus} GPU(s); start one for each, and let all see all (Slurm: "
                "--gpus-per-node, not --gpus-per-task)"
            )
    if settings.strategy == "auto" and (devices or gpus or 1) * nodes > 1:
        found["strategy"] = DDPStrategy(**DDP)
    return found


def _gpus(settings: Any) -> int:
    """How many GPUs there are, where the settings let one be used."""
    return torch.cuda.device_count() if settings.accelerator in ("auto", "gpu", "cuda") else 0


def world_size(settings: Any) -> int:
    """How many processes train a run whose trainer has these settings, where no launcher did it."""
    return int((count_devices(settings.devices) or _gpus(settings) or 1) * settings.num_nodes)


def default_loggers(out: Path) -> list[Logger]:
    """CSV files, and W&B without an account or a question (offline unless WANDB_MODE says so).

    A run that `wandb agent` started is online, and has the agent's id for it.
    """
    loggers: list[Logger] = [CSVLogger(out, name="csv")]
    if wandb_mode() != "disabled":
        identity = out / "wandb_id"
        # The other processes log nothing, and two that write at once would not agree.
        if is_first() and not identity.exists():
            one = os.environ["WANDB_RUN_ID"] if swept() else uuid.uuid4().hex[:8]
            replace_file(identity, one.encode())
        known = identity.read_text() if is_first() else None
        loggers.append(CarefulWandbLogger(out, "ssl-faces", known))
    return loggers


# What Lightning warns of and is as it should be here.
_NOISE = (
    "treespec",
    "does not have many workers",
    "LightningCLI's args parameter",
    "Your `IterableDataset` has `__len__` defined",
    # Ours is: the data module's state has the place in the epoch.
    "You're resuming from a checkpoint that ended before the epoch ended",
    "Precision .* is not supported by the model summary",
    # Stage 2's frozen networks of stage 1.
    r"Found \d+ module\(s\) in eval mode",
    "The number of training batches .* is smaller than the logging interval",
)


def _no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def quiet() -> None:
    """Leave out what Lightning warns of and is as it should be here."""
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=f".*{message}")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_tip)


def run(arguments: Sequence[str], started: float) -> None:
    """Run `ssl-faces` with these arguments.

    Args:
        started: `time.perf_counter()` when the command began.

    Raises:
        InputError: bad input.
    """
    FaceCLI.clock = StartClock(started)
    FaceCLI.clock.mark("imports")
    quiet()
    with RunRecord(["ssl-faces", *arguments]) as record:
        FaceCLI.record = record if is_first() else None
        code = 1
        try:
            cli = build(FaceCLI, FaceDataModule, arguments, _SaveConfig)
            record.step = cli.trainer.global_step
            code = 0
        finally:
            FaceCLI.record = None
            finish_wandb(code)
    sys.stdout.flush()


class _Checked(Exception):
    """The settings can be."""


class _CheckCLI(FaceCLI):
    def before_instantiate_classes(self) -> None:
        raise _Checked


def check(arguments: Sequence[str]) -> None:
    """Read the arguments of `ssl-faces fit`, and do nothing.

    Raises:
        InputError: a key that there isn't, a value that can't be.
    """
    with suppress(_Checked):
        build(_CheckCLI, FaceDataModule, arguments)


def build(
    cli: type[FaceCLI],
    data: type[FaceDataModule],
    arguments: Sequence[str],
    save_config: type[SaveConfigCallback] | None = None,
) -> FaceCLI:
    """A command line of ours that has understood its arguments and done what they say.

    Raises:
        InputError: bad input.
    """
    return cli(
        Method,
        data,
        subclass_mode_model=True,
        save_config_callback=save_config,
        seed_everything_default=0,
        parser_class=_Parser,
        parser_kwargs={"prog": "ssl-faces"},
        auto_configure_optimizers=False,
        trainer_defaults={"log_every_n_steps": 20},
        args=list(arguments),
    )
