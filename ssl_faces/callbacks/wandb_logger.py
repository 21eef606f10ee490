"""The loggers of a run: CSV files, and W&B, which never blocks or breaks a run: offline by default,
off after an error."""

from __future__ import annotations

import os
import sys
import uuid
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric.loggers.logger import _DummyExperiment
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import regular, replace_file
from ssl_faces.common.ranks import is_first

PROJECT = "ssl-faces"
"""The default project."""

PLACE_FILE = "wandb_project"
"""In the run's folder: ENTITY/PROJECT of its W&B run, so that a resumed run stays one."""

SECONDS = 30
"""Timeout for the server; then the run is logged offline."""

_RETRIES = 5
_PAUSE = 5
"""Largest number of seconds between retries."""
_TIMEOUT = 30
"""Seconds for one request. By default a server that accepts but never answers holds up the end of
a run for minutes."""
_SERVER = "https://api.wandb.ai"


@dataclass(frozen=True)
class WandbSettings:
    """Where a run is in W&B. What is not set here comes from W&B's environment variables.

    Attributes:
        project: default: WANDB_PROJECT, else ssl-faces.
        entity: a user or a team; default: WANDB_ENTITY, else the account's.
        group: runs that W&B shows together; default: WANDB_RUN_GROUP.
        tags: default: WANDB_TAGS, with commas between.
    """

    project: str | None = None
    entity: str | None = None
    group: str | None = None
    tags: list[str] | None = None

    def place(self, out: Path) -> tuple[str, str]:
        """Entity (empty: the account's) and project: these settings, then those that the run in
        this folder began with, then the environment."""
        file = out / PLACE_FILE
        begun = regular(file).read_text() if file.exists() else ""
        entity, _, project = begun.partition("/")
        environment = os.environ
        return (
            self.entity or (entity if begun else environment.get("WANDB_ENTITY", "")),
            self.project or project or environment.get("WANDB_PROJECT") or PROJECT,
        )


def swept() -> bool:
    """Whether `wandb agent` started this run."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def wandb_mode() -> str:
    """`offline`, `online` or `disabled`: WANDB_MODE, by default online under `wandb agent` and
    offline otherwise."""
    mode = os.environ.get("WANDB_MODE", "online" if swept() else "offline")
    # Lightning replaces `offline` by `dryrun`.
    return {"dryrun": "offline"}.get(mode, mode)


def has_account() -> bool:
    """Whether a key for W&B's server is in the environment or in `.netrc`."""
    from requests.utils import get_netrc_auth

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    return get_netrc_auth(os.environ.get("WANDB_BASE_URL", _SERVER)) is not None


def patient_settings(**more: Any) -> Any:
    """W&B settings that limit all waiting for its server."""
    import wandb

    return wandb.Settings(
        init_timeout=SECONDS,
        x_graphql_retry_max=_RETRIES,
        x_file_stream_retry_max=_RETRIES,
        x_file_transfer_retry_max=_RETRIES,
        x_graphql_retry_wait_max_seconds=_PAUSE,
        x_file_stream_retry_wait_max_seconds=_PAUSE,
        x_file_transfer_retry_wait_max_seconds=_PAUSE,
        x_graphql_timeout_seconds=_TIMEOUT,
        x_file_stream_timeout_seconds=_TIMEOUT,
        **more,
    )


class LogOnce(Logger):
    """A mixin that logs the same values of a step only once.

    A step is logged before its checkpoint is saved, so that a run killed afterwards has its row;
    Lightning logs it again at the end of the step.
    """

    _last: tuple[int | None, dict[str, Any]] | None = None

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        row = (step, dict(metrics))
        if row != self._last:
            self._last = row
            super().log_metrics(dict(metrics), step)  # type: ignore[safe-super]


class CSVRows(LogOnce, CSVLogger):
    """Lightning's CSV logger without repeated rows."""


class CarefulWandbLogger(LogOnce, WandbLogger):
    """Lightning's W&B logger. An error is printed once and ends the logging, not the run.

    W&B's files are always in `wandb/` of the run's folder, without keys and tokens; `wandb sync`
    uploads them later.

    Args:
        out: the run's folder.
        project: W&B project.
        identity: id of the W&B run; None if another process logs.
        name: of the W&B run; None is the folder's.
        more: arguments of `wandb.init`.
    """

    def __init__(
        self, out: Path, project: str, identity: str | None, name: str | None = None, **more: Any
    ) -> None:
        mode = wandb_mode()
        if mode != "offline" and not has_account():
            if identity is not None:
                print(
                    "W&B: no account is set up here (WANDB_API_KEY, or `wandb login`): the run is "
                    f"logged offline; `wandb sync {out}/wandb/offline-run-*` uploads it"
                )
            mode = "offline"
            os.environ["WANDB_MODE"] = mode
        os.environ.setdefault("WANDB_SILENT", "true")
        super().__init__(
            project=project,
            name=name or out.name,
            save_dir=out,
            offline=mode == "offline",
            mode=mode,
            id=identity,
            resume="allow",
            settings=patient_settings(),
            **more,
        )
        # W&B warns if it is passed, even as None.
        self._wandb_init.pop("anonymous", None)
        self.off = False

    @property
    def experiment(self) -> Any:
        """W&B's run; a dummy if logging is off."""
        if self.off:
            return _DummyExperiment()
        try:
            return super().experiment
        except Exception as error:
            if self._offline:
                self._give_up(error)
                return _DummyExperiment()
            print(f"W&B: not online ({reason_of(error)}): the run is logged offline")
            _end_service()
            self._offline = True
            self._wandb_init["mode"] = os.environ["WANDB_MODE"] = "offline"
            return self.experiment

    def _try(self, call: Callable[..., object], *arguments: Any, **named: Any) -> None:
        try:
            if not self.off:
                call(*arguments, **named)
        except Exception as error:  # W&B raises many types, and none may end the run
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.off = True
        print(
            f"\nW&B: nothing more is logged there ({reason_of(error)}); the run continues",
            flush=True,
        )
        # Otherwise W&B may block or fail at the end of the process.
        _end_service()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        self._try(super().log_hyperparams, params)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._try(super().log_metrics, metrics, step)

    @rank_zero_only
    def log_image(
        self, key: str, images: list[Any], step: int | None = None, **kwargs: Any
    ) -> None:
        self._try(super().log_image, key, images, step, **kwargs)

    @rank_zero_only
    def log_encoder(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Log a saved encoder as artifact `ID-encoder` of type `model`, with its card.

        Lightning's `log_model` is for checkpoints and does not work offline.
        """
        self._try(self._log_encoder, folder, card)

    def _log_encoder(self, folder: Path, card: Mapping[str, Any]) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self.experiment.id}-encoder", "model", metadata=dict(card))
        for file in sorted(folder.iterdir()):
            # Without copies, which would go to W&B's cache in the home folder.
            artifact.add_file(str(file), policy="immutable", skip_cache=True)
        self.experiment.log_artifact(artifact)


def default_loggers(
    out: Path, settings: WandbSettings | None = None, name: str | None = None
) -> list[Logger]:
    """CSV files, and W&B unless WANDB_MODE is `disabled`; a sweep's run has the agent's id.

    Args:
        out: the run's folder.
        settings: where W&B's run is listed.
        name: of the W&B run; None is the folder's.
    """
    loggers: list[Logger] = [CSVRows(out, name="csv")]
    settings = settings or WandbSettings()
    if wandb_mode() != "disabled":
        file, identity = out / "wandb_id", None
        entity, project = settings.place(out)
        if is_first():  # the other processes log nothing
            if not file.exists():
                new = os.environ["WANDB_RUN_ID"] if swept() else uuid.uuid4().hex[:8]
                replace_file(file, new.encode())
            replace_file(out / PLACE_FILE, f"{entity}/{project}".encode())
            identity = file.read_text()
        given = {"entity": entity, "group": settings.group, "tags": settings.tags}
        more = {key: value for key, value in given.items() if value}
        loggers.append(CarefulWandbLogger(out, project, identity, name, **more))
    return loggers


_ITS_ENDS = (Exception, SystemExit)
"""Raised by W&B if its service was killed: it exits with the service's code."""


def _end_service() -> None:
    """End W&B's service, which may be broken; the next run starts another."""
    import wandb

    with suppress(*_ITS_ENDS):
        wandb.teardown(1)
    os.environ.pop("WANDB_SERVICE", None)
    wandb.run = None  # otherwise the next run would be logged to it


def finish_wandb(exit_code: int) -> None:
    """Finish this process's W&B run, if any."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        with suppress(*_ITS_ENDS):
            wandb.finish(exit_code=exit_code)
