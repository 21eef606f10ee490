"""Save the trained encoder with its card, and the list of skipped images."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from safetensors.torch import save

from ssl_faces.callbacks.averaging import averaging
from ssl_faces.callbacks.online_probe import OnlineProbe
from ssl_faces.callbacks.wandb_logger import CarefulWandbLogger
from ssl_faces.common.errors import InputError
from ssl_faces.common.files import replace_file
from ssl_faces.common.hardware import hardware
from ssl_faces.common.plurals import plural
from ssl_faces.data.faces import write_skipped
from ssl_faces.encoders.encoder import HASHES, TRAINED_FILE, is_whole, save_encoder
from ssl_faces.encoders.start import STARTED_FROM
from ssl_faces.encoders.trained_images import hashes_of, save_trained_images, with_start
from ssl_faces.methods.method import Method
from ssl_faces.pairs.module import FaceData

PACKAGES = ("ssl-faces", "torch", "pytorch-lightning", "kornia", "lightly", "numpy")


class EncoderExport(pl.Callback):
    """Writes `skipped.csv` (unusable images) when training starts, and `encoder/` (weights and
    card) when it ends.

    Args:
        out: the run's folder.
        changes: settings changed on resume, for the card.
    """

    def __init__(self, out: Path, changes: list[dict[str, Any]] | None = None) -> None:
        self.out = Path(out)
        self.changes = changes or []
        self.seconds = 0.0
        self._since = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = state_dict["seconds"]

    def _elapsed(self) -> float:
        return self.seconds + (time.monotonic() - self._since if self._since else 0.0)

    @rank_zero_only
    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._since = time.monotonic()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if data.mix():
            print(data.mix())
        skipped = data.skipped
        if skipped:
            path = self.out / "skipped.csv"
            write_skipped(path, skipped)
            print(f"skipped {plural(len(skipped), 'picture')} that can't be used; see {path}")

    @rank_zero_only
    def on_fit_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        # A run killed after its last checkpoint has no steps left when it is resumed, and Lightning
        # calls neither hook of training then.
        if not self._since and not is_whole(self.out / "encoder"):
            self.on_train_end(trainer, module)

    @rank_zero_only
    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, Method)
        if trainer.global_step == 0:
            raise InputError(
                "no step was trained, so no encoder is saved; see the trainer settings"
            )
        card = self.card(trainer, module)
        directory = self.out / "encoder"
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        start = module.encoder.start
        trained = None if data.streamed else hashes_of(data)
        line = ""
        if trained is not None and start is not None:
            trained = with_start(trained, start.folder)
            line = f"no hashes of training images: {start.name} has none of its own"
        if trained is not None:
            line, digest = save_trained_images(directory, trained)
            card[HASHES] = {TRAINED_FILE: digest}
        save_encoder(module.encoder, directory, card)
        if line:
            print(line)
        for logger in trainer.loggers:
            if isinstance(logger, CarefulWandbLogger):
                logger.log_encoder(directory, card)
        for name, network in module.extra_networks().items():
            weights = {key: value.contiguous() for key, value in network.state_dict().items()}
            replace_file(self.out / f"{name}.safetensors", save(weights))
        print(f"encoder: {directory}")

    def card(self, trainer: pl.Trainer, module: Method) -> dict[str, Any]:
        """The card: everything known about the weights."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        pairs = trainer.global_step * data.batch_size * trainer.world_size
        probes = [c for c in trainer.callbacks if isinstance(c, OnlineProbe)]  # type: ignore[attr-defined]
        online = probes[0].card(data.online.faces) if probes else {}
        start = {} if module.encoder.start is None else module.encoder.start.card()
        average = averaging(trainer)
        return {
            "method": module.name,
            "method_settings": {
                k: list(v) if isinstance(v, tuple) else v
                for k, v in module.hparams.items()
                if not k.startswith("_")
            },
            **({STARTED_FROM: start} if start else {}),
            **({"changed_on_resume": self.changes} if self.changes else {}),
            "data": data.description,
            "left_out": left_out(data),
            "uses_identity_labels": data.uses_identity_labels
            or start.get("uses_identity_labels", False),
            "positives": data.positives,
            "share_of_pairs_of_two_pictures": data.two_pictures,
            "different_share": data.different_share,
            "share_of_pairs_of_two_pictures_by_set": data.two_images,
            "candidates": data.candidates,
            "epoch_of": data.epoch_of,
            "augmentation": str(data.augmentation.settings),
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "pairs_a_step": data.batch_size * trainer.world_size,
            "pairs_seen": pairs,
            "seed": data.seed,
            "precision": str(trainer.precision),
            **({} if average is None else {"ema_decay": average.decay}),
            "online": online,
            "loss": {k: round(float(v), 5) for k, v in trainer.logged_metrics.items()},
            "training_seconds": round(self._elapsed(), 1),
            "hardware": f"{trainer.world_size} x {hardware(module.device)}",
            "versions": {name: version(name) for name in PACKAGES},
        }


def left_out(data: FaceData) -> str:
    """Description of the images that were held out from pretraining."""
    parts = data.tests_left_out()
    if data.online.faces:
        parts.append(f"{data.online} for the online probe, with their people and copies")
    return "; ".join(parts) or "nothing"
