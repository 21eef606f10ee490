"""Training runs: LightningCLI with a run folder, checkpoints, panels and loggers that just work."""

from __future__ import annotations

import logging
import os
import re
import sys
import uuid
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml
from pytorch_lightning.callbacks import Callback, ModelSummary, ProgressBar
from pytorch_lightning.cli import ArgsType, LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ssl_faces.callbacks.export import EncoderExport
from ssl_faces.callbacks.finite_loss import FiniteLoss
from ssl_faces.callbacks.first_step import FirstStep, StartClock
from ssl_faces.callbacks.last_checkpoint import LastCheckpoint
from ssl_faces.callbacks.network_summary import NetworkSummary
from ssl_faces.callbacks.online_probe import OnlineProbe
from ssl_faces.callbacks.panels import PanelWriter
from ssl_faces.callbacks.run_settings import RunSettings
from ssl_faces.callbacks.same_checkpoint import SameCheckpoint
from ssl_faces.callbacks.step_figures import StepFigures
from ssl_faces.callbacks.steps_bar import StepsBar
from ssl_faces.callbacks.stop_signals import StopSignals
from ssl_faces.common.class_paths import CONFIGS_ARE_CODE, restrict_class_paths
from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import replace_file
from ssl_faces.common.hardware import fast_bfloat16
from ssl_faces.common.outputs import refuse_input
from ssl_faces.common.passwords import refuse_passwords
from ssl_faces.common.ranges import GlobalSeed, NonNegativeInt, PositiveInt, check_value
from ssl_faces.common.settings_parser import SettingsErrors
from ssl_faces.data.pairs.module import FaceDataModule
from ssl_faces.data.pairs.online import PICTURES
from ssl_faces.encoders.encoder import CARD_FILE
from ssl_faces.methods.method import Method
from ssl_faces.training.launch import Launch, count_devices, find_launch, is_first
from ssl_faces.training.log_once import CSVRows
from ssl_faces.training.resume import Resumed, no_checkpoint, read_resumed
from ssl_faces.training.run_record import CHECKPOINT, RUN_FILE, RunRecord
from ssl_faces.training.trainer_settings import check_trainer
from ssl_faces.training.wandb_logger import CarefulWandbLogger, finish_wandb, swept, wandb_mode
from ssl_faces.training.without_effect import changed_without_effect

_log = logging.getLogger(__name__)

# Default options of DistributedDataParallel: gradients share memory with the buckets that are sent,
# which saves a copy. On 2 cores two processes train 1.76 times as fast as one, and without any
# exchange 1.79 times (`ssl-faces bench scale`), so other options have little to gain.
DDP: dict[str, Any] = {"gradient_as_bucket_view": True}


class _Parser(SettingsErrors, LightningArgumentParser):
    """Reads the settings of `fit`."""


class FaceCLI(LightningCLI):
    """`fit` with `--out DIR`: where checkpoints, panels, logs and the encoder go."""

    clock: StartClock
    record: RunRecord | None = None
    """Of the run's folder, where this process is the one to write it."""
    resumed: Resumed | None = None
    """The checkpoint that the run resumes from."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.description = f"Pretrain an encoder. {CONFIGS_ARE_CODE}"
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
        self.check_trainer(self.config[self.config.subcommand].trainer)
        self.launch = find_launch()

    def check_trainer(self, settings: Any) -> None:
        """Refuse settings of the trainer that `trainer_settings` does not allow."""
        check_trainer(settings)

    def _parse_ckpt_path(self) -> None:
        """Lightning's would put the checkpoint's settings in the place of those given."""

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
        if is_first():
            for name, why in changed_without_effect(settings.as_dict()).items():
                _log.warning("%s has no effect, since %s", name, why)
        if "weights_only" in settings:  # of Lightning from 2.6 on
            settings.weights_only = True
        self._resume(settings)

    def _resume(self, settings: Any) -> None:
        """Find the checkpoint to resume from, and see that it goes with the settings.

        Raises:
            InputError: it doesn't, or the folder holds another run.
        """
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
            # An absent checkpoint starts from the beginning, so that one command does both.
            settings.ckpt_path = str(checkpoint) if checkpoint.exists() else None
            if settings.ckpt_path is None and is_first():
                print(no_checkpoint(Path(CHECKPOINT), settings.out))
        kind = _method(settings.model.class_path)
        if settings.ckpt_path is not None:
            path = Path(settings.ckpt_path)
            self.resumed = read_resumed(path, kind)
            if checkpoint.exists() and not checkpoint.samefile(path):
                raise InputError(
                    f"{settings.out}: holds a run already, and {path} is not its last checkpoint; "
                    "choose another --out, or --ckpt_path last"
                )
        self._settle(settings)
        # Without the checkpoint: a run that is started from these settings is a new one.
        kept = settings.clone()
        kept.pop("ckpt_path", None)
        self.text = self._parser(self.config.subcommand).dump(
            kept, skip_none=False, skip_validation=True
        )
        if self.resumed is not None:
            line = self.resumed.check(yaml.safe_load(self.text), kind)
            if line and is_first():
                print(line)

    def _settle(self, settings: Any) -> None:
        """Put in what is left to the machine, or to the run that is resumed."""
        earlier = self.resumed
        if settings.data.online_pictures is None:
            settings.data.online_pictures = PICTURES if settings.probe_every else 0
            if earlier is not None and earlier.of("data", "online_pictures") is not None:
                # Other pictures kept back would be other training pictures.
                settings.data.online_pictures = earlier.of("data", "online_pictures")
        if settings.trainer.precision is None:
            settings.trainer.precision = (earlier and earlier.of("trainer", "precision")) or (
                "bf16-mixed" if fast_bfloat16() else "32-true"
            )

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
        if settings.trainer.logger in (None, True):
            kwargs["logger"] = default_loggers(settings.out)
        kwargs["default_root_dir"] = settings.out
        # Not in `config`, which is kept: the run may go on under another launcher.
        kwargs |= devices_and_strategy(settings.trainer, self.launch)
        signals = StopSignals()
        changes = [] if self.resumed is None else self.resumed.changes
        bar = settings.trainer.enable_progress_bar is not False and not _has(
            settings.trainer, ProgressBar
        )
        summary = settings.trainer.enable_model_summary is not False and not _has(
            settings.trainer, ModelSummary
        )
        if summary:
            kwargs["enable_model_summary"] = False  # Lightning's own
        self.trainer_defaults["callbacks"] = [
            signals,
            SameCheckpoint(settings.get("ckpt_path")),
            FirstStep(self.clock),
            # Before whatever saves weights.
            FiniteLoss(settings.out / CHECKPOINT),
            StepFigures(),
            PanelWriter(settings.out, settings.panels_every),
            # Before the card that its figures go to.
            OnlineProbe(settings.probe_every),
            *([NetworkSummary()] if summary else []),
            # Between who prints a line when training starts and who does when it ends.
            *([StepsBar()] if bar else []),
            EncoderExport(settings.out, changes),
            RunSettings(settings.out, self.text, changes),
            LastCheckpoint(settings.out / CHECKPOINT, settings.checkpoint_every, signals),
        ]
        try:
            return super().instantiate_trainer(**kwargs)
        except InputError:
            raise
        except Exception as error:  # Lightning's are of many classes
            raise InputError(f"--trainer: {_first_sentence(error)}; change that setting") from error

    def before_fit(self) -> None:
        # The layout that convolutions are fastest in.
        self.model.to(memory_format=torch.channels_last)
        if self.resumed is not None:
            self.resumed.check_weights(self.model)
        self.clock.mark("trainer")


def check_run_folder(out: Path, configs: Sequence[Any]) -> None:
    """Check the folder of a new run.

    Raises:
        InputError: it holds an encoder without the run's checkpoint, or `config.yaml` there is one
            of `configs` and no run wrote it.
    """
    if not (out / RUN_FILE).exists():
        refuse_input(out / "config.yaml", [str(one) for one in configs])
    if (out / "encoder" / CARD_FILE).exists():
        raise InputError(
            f"{out}: holds an encoder, which would be replaced; choose another --out, or delete "
            f"{out / 'encoder'}"
        )


def _method(class_path: str) -> type[Method]:
    """The class of a method, which the parser has imported and checked."""
    module, _, name = class_path.rpartition(".")
    kind: type[Method] = getattr(import_module(module), name)
    return kind


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return shorten(re.split(r"(?<=[a-z`)'\"])\. (?=[A-Z])", text)[0].rstrip("."), 600)


def _has(settings: Any, kind: type[Callback]) -> bool:
    """Whether the trainer's settings have a callback of this kind, of the user's choice."""
    callbacks = settings.callbacks or []
    several = callbacks if isinstance(callbacks, list) else [callbacks]
    return any(isinstance(one, kind) for one in several)


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
    loggers: list[Logger] = [CSVRows(out, name="csv")]
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
    # Ours is: the loader begins at the batch that the progress of Lightning's loops names.
    "You're resuming from a checkpoint that ended before the epoch ended",
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
            cli = build(FaceCLI, FaceDataModule, arguments)
            record.step = cli.trainer.global_step
            code = 0
        except MisconfigurationException as error:
            raise InputError(f"settings: {_first_sentence(error)}; change that setting") from error
        except (RuntimeError, ValueError) as error:
            # Of a checkpoint that kept no settings to compare.
            if not str(error).startswith(("Error(s) in loading state_dict", "loaded state dict")):
                raise
            raise InputError(
                "--ckpt_path: the checkpoint was trained with other settings of the model; give "
                "those, or start a new run with another --out"
            ) from error
        finally:
            FaceCLI.record = None
            finish_wandb(code)
    sys.stdout.flush()


class _Checked(Exception):
    """The settings can be; they are its argument."""


class _CheckCLI(FaceCLI):
    def before_instantiate_classes(self) -> None:
        raise _Checked(self.config[self.config.subcommand].as_dict())


def check(arguments: Sequence[str]) -> dict[str, Any]:
    """Read the arguments of `ssl-faces fit`, and do nothing; gives the settings, nested.

    Raises:
        InputError: a key that there isn't, a value that can't be.
    """
    quiet()
    try:
        build(_CheckCLI, FaceDataModule, arguments)
    except _Checked as checked:
        settings: dict[str, Any] = checked.args[0]
        return settings
    raise AssertionError("settings that were read and not checked")


def build(
    cli: type[FaceCLI],
    data: type[FaceDataModule],
    arguments: Sequence[str],
) -> FaceCLI:
    """A command line of ours that has understood its arguments and done what they say.

    Raises:
        InputError: bad input.
    """
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
        args=list(arguments),
    )
