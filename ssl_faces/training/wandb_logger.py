"""W&B that no run waits for or fails by: offline unless asked, and silent once it is broken."""

from __future__ import annotations

import netrc
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from lightning_fabric.loggers.logger import _DummyExperiment
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from ssl_faces.common.errors import reason_of
from ssl_faces.training.log_once import LogOnce

SECONDS = 30
"""To wait for the server before the run goes on offline."""

_RETRIES = 5
_PAUSE = 5
"""Seconds between two of these at most: what is lost of the network is soon given up."""
_SERVER = "https://api.wandb.ai"


def swept() -> bool:
    """Whether `wandb agent` started this run."""
    return bool(os.environ.get("WANDB_SWEEP_ID") and os.environ.get("WANDB_RUN_ID"))


def wandb_mode() -> str:
    """`offline`, `online` or `disabled`: the variable WANDB_MODE; where it is not set online for a
    run of `wandb agent`, else offline."""
    mode = os.environ.get("WANDB_MODE", "online" if swept() else "offline")
    # Lightning sets the second where it is asked for the first.
    return {"dryrun": "offline"}.get(mode, mode)


def has_account() -> bool:
    """Whether a key for W&B's server is in the environment or in `.netrc`; asks nobody."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", _SERVER)).hostname or ""
    named = os.environ.get("NETRC")
    for place in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            if netrc.netrc(place).authenticators(host) is not None:
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def patient_settings(**more: Any) -> Any:
    """W&B's settings that bound how long anything waits for its server."""
    import wandb

    return wandb.Settings(
        init_timeout=SECONDS,
        x_graphql_retry_max=_RETRIES,
        x_file_stream_retry_max=_RETRIES,
        x_file_transfer_retry_max=_RETRIES,
        x_graphql_retry_wait_max_seconds=_PAUSE,
        x_file_stream_retry_wait_max_seconds=_PAUSE,
        x_file_transfer_retry_wait_max_seconds=_PAUSE,
        **more,
    )


class CarefulWandbLogger(LogOnce, WandbLogger):
    """Lightning's logger, all of whose errors are told once and end the logging, not the run.

    What W&B itself writes lies in `wandb/` of the run's folder also where it is online: `wandb
    sync` uploads it later. Keys and tokens are none of it.

    Args:
        out: the run's folder.
        project, identity: of the W&B run; `identity` is None where another process logs.
    """

    def __init__(self, out: Path, project: str, identity: str | None) -> None:
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
            name=out.name,
            save_dir=out,
            offline=mode == "offline",
            mode=mode,
            id=identity,
            resume="allow",
            settings=patient_settings(),
        )
        # W&B warns at every start where it is given, even as None.
        self._wandb_init.pop("anonymous", None)
        self.off = False

    @property
    def experiment(self) -> Any:
        """W&B's run; something that takes all calls and does nothing where there is none."""
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

    def _try(self, call: Callable[[], object]) -> None:
        if self.off:
            return
        try:
            call()
        except Exception as error:  # its own errors are many, and none is worth a run
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.off = True
        print(
            f"\nW&B: nothing more is logged there ({reason_of(error)}); the run goes on", flush=True
        )
        # It asks for nothing at the process's end then, though it may be as broken as the rest.
        _end_service()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        self._try(lambda: WandbLogger.log_hyperparams(self, params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._try(lambda: super(CarefulWandbLogger, self).log_metrics(metrics, step))

    @rank_zero_only
    def log_image(
        self, key: str, images: list[Any], step: int | None = None, **kwargs: Any
    ) -> None:
        self._try(lambda: WandbLogger.log_image(self, key, images, step, **kwargs))

    @rank_zero_only
    def log_encoder(self, folder: Path, card: Mapping[str, Any]) -> None:
        """Log a saved encoder as an artifact `NAME-encoder` of type `model`, with its card.

        Lightning's `log_model` is of checkpoints, and refuses to work offline.
        """
        self._try(lambda: self._log_encoder(folder, card))

    def _log_encoder(self, folder: Path, card: Mapping[str, Any]) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self.experiment.id}-encoder", "model", metadata=dict(card))
        for file in sorted(folder.iterdir()):
            # As it lies there: copies would go to W&B's cache in the home folder.
            artifact.add_file(str(file), policy="immutable", skip_cache=True)
        self.experiment.log_artifact(artifact)


_ITS_ENDS = (Exception, SystemExit)
"""Where its own process was killed, W&B ends the one that joins it with the same code."""


def _end_service() -> None:
    """End W&B's own process, which may be what is broken; the next run starts another."""
    import wandb

    with suppress(*_ITS_ENDS):
        wandb.teardown(1)
    os.environ.pop("WANDB_SERVICE", None)
    wandb.run = None  # else the next would be logged to it


def finish_wandb(exit_code: int) -> None:
    """End this process's run of W&B, if it has one: the next would be logged to it too."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        with suppress(*_ITS_ENDS):
            wandb.finish(exit_code=exit_code)
