"""`ssl-faces fit`: LightningCLI with a run folder, checkpoints, panels and loggers."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback, ModelSummary, ProgressBar
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ssl_faces.callbacks.averaging import AverageWeights
from ssl_faces.callbacks.export import EncoderExport
from ssl_faces.callbacks.finite_loss import FiniteLoss
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint, RunSettings, SameCheckpoint
from ssl_faces.callbacks.online_probe import OnlineProbe
from ssl_faces.callbacks.panels import PanelWriter
from ssl_faces.callbacks.progress import (
    ExpectedTime,
    NetworkSummary,
    StepFigures,
    StepsBar,
)
from ssl_faces.callbacks.stop_signals import StopSignals
from ssl_faces.callbacks.wandb_logger import (
    WandbSettings,
    default_loggers,
    finish_wandb,
    swept,
)
from ssl_faces.common.class_paths import CONFIGS_ARE_CODE, restrict_class_paths
from ssl_faces.common.config_files import with_files
from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.common.outputs import refuse_input
from ssl_faces.common.passwords import refuse_passwords
from ssl_faces.common.ranges import (
    GlobalSeed,
    NonNegativeInt,
    PositiveInt,
    UnitBelow1,
    check_value,
)
from ssl_faces.common.ranks import is_first
from ssl_faces.common.run_record import CHECKPOINT, RUN_FILE, RunRecord
from ssl_faces.common.settings_parser import SettingsErrors
from ssl_faces.data.faces import FaceSet
from ssl_faces.encoders.places import CARD_FILE
from ssl_faces.methods.method import Method
from ssl_faces.pairs.module import FaceData
from ssl_faces.pairs.online import PICTURES
from ssl_faces.training.launch import devices_and_strategy, find_launch
from ssl_faces.training.resume import Resumed, read_resumed
from ssl_faces.training.trainer_settings import check_trainer
from ssl_faces.training.without_effect import changed_without_effect

_log = logging.getLogger(__name__)


class _Parser(SettingsErrors, LightningArgumentParser):
    """The parser of `fit`."""


class FaceCLI(LightningCLI):
    """`fit` with `--out DIR` for checkpoints, panels, logs and the encoder.

    Attributes:
        record: of the run's folder; only in the first process.
        sets: face sets made in Python, to train on instead of those in the settings.
        resumed: the checkpoint to resume from.
    """

    record: RunRecord | None = None
    sets: ClassVar[list[FaceSet]] = []
    resumed: Resumed | None = None

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.description = f"Pretrain an encoder. {CONFIGS_ARE_CODE}"
        add = parser.add_argument
        text = "folder of this run (by default runs/SWEEP/RUN under `wandb agent`)"
        add("--out", type=Path, default=default_out(), help=text)
        text = "steps between checkpoints"
        add("--checkpoint_every", type=PositiveInt, default=500, help=text)
        text = "steps between panels of images, 0: only at the end"
        add("--panels_every", type=NonNegativeInt, default=500, help=text)
        text = "steps between online probes of the encoder and checks for collapse, 0: none"
        add("--probe_every", type=NonNegativeInt, default=1000, help=text)
        text = "decay of the exponential moving average of the weights that is saved; 0: none"
        add("--ema_decay", type=UnitBelow1, default=0.0, help=text)
        add("--wandb", type=WandbSettings, default=WandbSettings())

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        super().parse_arguments(parser, args)
        settings = self.config[self.config.subcommand]
        if not isinstance(settings.seed_everything, bool):
            check_value(GlobalSeed, settings.seed_everything, "seed_everything")
        # Before anything is written.
        refuse_passwords(settings.as_dict())
        self.check_trainer(settings.trainer)
        self.launch = find_launch()

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only `fit`: the parser of each takes long to build."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def check_trainer(self, settings: Any) -> None:
        """Refuse unsupported settings of the trainer."""
        check_trainer(settings)

    def _parse_ckpt_path(self) -> None:
        """Lightning would replace the settings by those in the checkpoint."""

    def before_instantiate_classes(self) -> None:
        settings = self.config[self.config.subcommand]
        if self.launch is not None:
            trainer = settings.trainer
            self.launch.check(
                trainer.devices, trainer.num_nodes, trainer.strategy, trainer.accelerator
            )
            if is_first():
                print(self.launch)
        if is_first():
            for name, why in changed_without_effect(settings.as_dict()).items():
                _log.warning("%s has no effect, since %s", name, why)
        settings.weights_only = True
        self._resume(settings)

    def _resume(self, settings: Any) -> None:
        """Find the checkpoint to resume from, and compare its settings. Raises InputError: settings
        differ, or the folder holds another run."""
        checkpoint = settings.out / CHECKPOINT
        wanted = settings.get("ckpt_path")
        if wanted is None and checkpoint.exists():
            raise InputError(
                f"{settings.out}: holds a run already; add --ckpt_path last to resume it, or "
                "choose another --out"
            )
        if wanted is None:
            check_run_folder(settings.out, settings.get("config") or [])
        if wanted == "last":
            # Without a checkpoint the run starts from scratch: one command for both.
            settings.ckpt_path = str(checkpoint) if checkpoint.exists() else None
            if settings.ckpt_path is None and is_first():
                print(f"starts a new run: {checkpoint} does not exist")
        kind: type[Method] = resolve_name(settings.model.class_path)
        if settings.ckpt_path is not None:
            path = Path(settings.ckpt_path)
            self.resumed = read_resumed(path, kind)
            if checkpoint.exists() and not checkpoint.samefile(path):
                raise InputError(
                    f"{settings.out}: holds a run already, and {path} is not its last checkpoint; "
                    "choose another --out, or --ckpt_path last"
                )
        self._fill_in(settings)
        # Without `ckpt_path`: `config.yaml` starts a new run.
        kept = settings.clone()
        kept.pop("ckpt_path", None)
        self.text = self._parser(self.config.subcommand).dump(
            kept, skip_unset=False, skip_validation=True
        )
        if self.resumed is not None:
            line = self.resumed.check(yaml.safe_load(self.text), kind)
            if line and is_first():
                print(line)

    def _fill_in(self, settings: Any) -> None:
        """Fill in defaults that depend on the machine or on the resumed run."""
        resumed = self.resumed
        if settings.data.online_pictures is None:
            settings.data.online_pictures = PICTURES if settings.probe_every else 0
            if resumed is not None:
                # Otherwise the training images would change.
                settings.data.online_pictures = resumed.of("data", "online_pictures")
        if settings.trainer.precision is None:
            settings.trainer.precision = (resumed and resumed.of("trainer", "precision")) or (
                "bf16-mixed" if fast_bfloat16() else "32-true"
            )

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        self.datamodule.sets = self.sets or self.datamodule.sets

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        config = self.config[self.config.subcommand]
        if self.record is not None:
            # Only now: settings that the method or the data refuse leave no folder.
            seed = {"seed_everything": config.get("seed_everything"), "data": config.data.seed}
            self.record.begin(config.out, method=config.model.class_path, seed=seed)
        settings = self.config_init[self.config_init.subcommand]
        if settings.trainer.logger in (None, True):
            kwargs["logger"] = default_loggers(settings.out, settings.wandb)
        kwargs["default_root_dir"] = settings.out
        # Not in the saved `config`: the run may resume under another launcher.
        kwargs |= devices_and_strategy(settings.trainer, self.launch)
        signals = StopSignals()
        changes = [] if self.resumed is None else self.resumed.changes
        trainer = settings.trainer
        bar = trainer.enable_progress_bar is not False and not _has(trainer, ProgressBar)
        summary = trainer.enable_model_summary is not False and not _has(trainer, ModelSummary)
        if summary:
            kwargs["enable_model_summary"] = False  # Lightning's own
        self.trainer_defaults["callbacks"] = [
            signals,
            SameCheckpoint(settings.get("ckpt_path")),
            ExpectedTime(),
            # Before callbacks that save weights.
            FiniteLoss(settings.out / CHECKPOINT),
            StepFigures(),
            # Before callbacks that show, probe and save the averaged weights.
            *([AverageWeights(settings.ema_decay)] if settings.ema_decay else []),
            PanelWriter(settings.out, settings.panels_every),
            # Before `EncoderExport`, which saves its results in the card.
            OnlineProbe(settings.probe_every),
            *([NetworkSummary()] if summary else []),
            # After callbacks that print at the start, before those that print at the end.
            *([StepsBar()] if bar else []),
            EncoderExport(settings.out, changes),
            RunSettings(settings.out, self.text, changes),
            LastCheckpoint(settings.out / CHECKPOINT, settings.checkpoint_every, signals),
        ]
        try:
            return super().instantiate_trainer(**kwargs)
        except InputError:
            raise
        except Exception as error:  # Lightning raises many types
            raise InputError(f"--trainer: {_first_sentence(error)}; change that setting") from error

    def before_fit(self) -> None:
        # The fastest memory layout for convolutions.
        self.model.to(memory_format=torch.channels_last)
        if self.resumed is not None:
            self.resumed.check_weights(self.model)


def check_run_folder(out: Path, configs: Sequence[Any]) -> None:
    """Check the folder of a new run. Raises InputError: it holds an encoder, or a `config.yaml` of
    the user that is one of `configs`."""
    if not (out / RUN_FILE).exists():
        refuse_input(out / "config.yaml", [str(one) for one in configs])
    if (out / "encoder" / CARD_FILE).exists():
        raise InputError(
            f"{out}: holds an encoder, which would be replaced; choose another --out, or delete "
            f"{out / 'encoder'}"
        )


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return shorten(re.split(r"(?<=[a-z`)'\"])\. (?=[A-Z])", text)[0].rstrip("."), 600)


def _has(settings: Any, kind: type[Callback]) -> bool:
    """Whether the user configured a callback of this kind."""
    callbacks = settings.callbacks or []
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(isinstance(callback, kind) for callback in callbacks)


def default_out() -> Path:
    """The default folder; under `wandb agent` one for each run of the sweep."""
    if not swept():
        return Path("runs/run")
    return Path("runs", f"sweep_{os.environ['WANDB_SWEEP_ID']}", os.environ["WANDB_RUN_ID"])


# Warnings of Lightning that don't apply here.
_NOISE = (
    "treespec",
    "does not have many workers",
    "LightningCLI's args parameter",
    "Your `IterableDataset` has `__len__` defined",
    # The loader supports it: it starts at the batch in Lightning's progress.
    "You're resuming from a checkpoint that ended before the epoch ended",
    # Frozen networks of stage 1 in stage 2.
    r"Found \d+ module\(s\) in eval mode",
    "The number of training batches .* is smaller than the logging interval",
)


def _no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def quiet() -> None:
    """Hide warnings and tips of Lightning that don't apply here."""
    for message in _NOISE:
        warnings.filterwarnings("ignore", message=f".*{message}")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").addFilter(_no_tip)


def run(arguments: Sequence[str], sets: Sequence[FaceSet] = ()) -> Method:
    """Run `ssl-faces fit`; the trained method. Raises InputError: bad input."""
    FaceCLI.sets = list(sets)
    quiet()
    with RunRecord(["ssl-faces", *arguments]) as record:
        FaceCLI.record = record if is_first() else None
        code = 1
        try:
            cli = build(FaceCLI, FaceData, arguments)
            record.step = cli.trainer.global_step
            code = 0
        except MisconfigurationException as error:
            raise InputError(f"settings: {_first_sentence(error)}; change that setting") from error
        finally:
            FaceCLI.record, FaceCLI.sets = None, []
            finish_wandb(code)
    sys.stdout.flush()
    return cli.model


class _Checked(Exception):
    """The settings are valid; they are its argument."""


class _CheckCLI(FaceCLI):
    def before_instantiate_classes(self) -> None:
        raise _Checked(self.config[self.config.subcommand].as_dict())


def check(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse the arguments of `ssl-faces fit` without running it; returns the nested settings.
    Raises InputError: unknown keys or invalid values."""
    quiet()
    try:
        build(_CheckCLI, FaceData, arguments)
    except _Checked as checked:
        settings: dict[str, Any] = checked.args[0]
        return settings
    raise AssertionError("settings were not checked")


def build(cli: type[FaceCLI], data: type[FaceData], arguments: Sequence[str]) -> FaceCLI:
    """Parse the arguments and run the command line. Raises InputError: bad input."""
    restrict_class_paths()
    return cli(
        Method,
        data,
        subclass_mode_model=True,
        save_config_callback=None,
        seed_everything_default=0,
        parser_class=_Parser,
        parser_kwargs={"prog": "ssl-faces"},
        auto_configure_optimizers=False,
        trainer_defaults={"log_every_n_steps": 20},
        args=with_files(arguments),
    )
