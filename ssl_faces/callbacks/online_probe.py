"""The online probe: what frozen features tell while they are still being learnt.

Its figures are for watching a run: from a few pictures kept back of the training parts, and never
those of `linear-probe`. Each is logged as `online/…`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssl_faces.callbacks.collapse import CollapseWatch
from ssl_faces.callbacks.quick_probes import SETTINGS, absolute_errors, class_accuracies
from ssl_faces.data.pairs.online import Label, OnlineFaces
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.methods.method import Method, in_eval_mode

SAMPLE = 512
"""Training pictures that are measured for collapse where none are kept back."""

_MOST_DIMS = 4096
_BATCH = 256

NOTE = (
    "online: for watching a run, from a small part of the training parts that was kept back; not "
    "comparable with the figures of linear-probe"
)


def probed_spaces(encoder: FaceEncoder) -> list[str]:
    """The feature spaces worth a probe: codes and pooled features, not flattened maps."""
    return [
        name
        for name, dims in encoder.feature_dims.items()
        if "map" not in name.split("_") and dims <= _MOST_DIMS
    ]


class OnlineProbe(pl.Callback):
    """Probes the encoder every so many steps and at the end, and watches for collapse.

    For each feature space and what is known of the pictures kept back (`FaceDataModule.online`):
    accuracy in % of expression by kNN and by ridge, mean absolute error of yaw by ridge, in
    degrees; effective rank and deviation (`collapse.py`). Where none are kept back only these, of
    training pictures. The first process computes, the others go on to the next step and wait there
    for its gradients.

    Args:
        every: steps; 0: never.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.watch = CollapseWatch()
        self.step = -1  # that `figures` are of
        self.figures: dict[str, float] = {}
        self.seconds = 0.0
        self._begun = 0  # step last looked at

    # State ---------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "figures": dict(self.figures),
            "told": list(self.watch.told),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.step, self.figures = state_dict["step"], dict(state_dict["figures"])
        self.watch.told = list(state_dict["told"])
        self.seconds = state_dict["seconds"]

    def card(self, faces: list[OnlineFaces]) -> dict[str, Any]:
        """The last figures, and what they are of; empty where there are none."""
        if not self.figures:
            return {}
        return {
            "note": NOTE,
            "probes": SETTINGS,
            "pictures": [one.about() for one in faces] or "training pictures, without labels",
            "step": self.step,
            "figures": {name: round(value, 4) for name, value in self.figures.items()},
            "seconds": round(self.seconds, 1),
        }

    # When ----------------------------------------------------------------------------------

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._begun = trainer.global_step
        if not self.every or not trainer.is_global_zero:
            return
        online = trainer.datamodule.online  # type: ignore[attr-defined]
        if online.off:
            print(f"online probe: off, as {online.off}")
        elif online.faces:
            print(f"online probe: {online}, kept back from training")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        # By how far steps have come: a step may count as two where two optimisers take turns.
        if self.every and trainer.global_step // self.every > self._begun // self.every:
            self._probe(trainer, module)
        self._begun = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.every and self.step != trainer.global_step:
            self._probe(trainer, module)

    # What ----------------------------------------------------------------------------------

    def _probe(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(module, Method)
        began = time.perf_counter()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        kept_back: list[OnlineFaces] = data.online.faces
        if kept_back:
            of_sets = [_features(trainer, module, one.images) for one in kept_back]
        else:
            images = (255 * data.sample(SAMPLE)["pairs"][:, 0]).round().byte()
            of_sets = [_features(trainer, module, images)]
        self.step, self.figures = trainer.global_step, {}
        for space, features in of_sets[0].items():
            measured, warning = self.watch.measure(space, features)
            self._take(space, measured)
            if warning:
                # On a line of its own, not behind the progress bar's.
                print(f"\nwarning: step {self.step} of {module.name}: {warning}", flush=True)
        for faces, spaces in zip(kept_back, of_sets, strict=False):
            for space, features in spaces.items():
                if bool(features.isfinite().all()):
                    self._take(space, figures_of(features, faces.targets, faces.bank))
        self.seconds += time.perf_counter() - began
        for logger in trainer.loggers:
            logger.log_metrics(self.figures, step=self.step)

    def _take(self, space: str, found: Mapping[str, float]) -> None:
        self.figures |= {f"online/{name}/{space}": value for name, value in found.items()}


def figures_of(features: Tensor, targets: Mapping[Label, Tensor], bank: int) -> dict[str, float]:
    """The probes' figures on features [N, D], the first `bank` of which are learnt on."""
    found: dict[str, float] = {}
    learnt, asked = features[:bank], features[bank:]
    if "expression" in targets:
        labels = targets["expression"]
        accuracies = class_accuracies(learnt, labels[:bank], asked, labels[bank:])
        found |= {f"expression_{probe}": value for probe, value in accuracies.items()}
    if "pose" in targets:
        yaw = targets["pose"][:, :1]
        found["yaw_mae"] = float(absolute_errors(learnt, yaw[:bank], asked, yaw[bank:]))
    return found


def _features(trainer: pl.Trainer, module: Method, images: Tensor) -> dict[str, Tensor]:
    """Features float32 [N, D] by space, on the CPU, of pictures uint8 [N, 3, S, S]."""
    spaces = probed_spaces(module.encoder)
    found: dict[str, list[Tensor]] = {space: [] for space in spaces}
    with in_eval_mode(module.encoder, module.device), trainer.precision_plugin.forward_context():
        for batch in images.split(_BATCH):
            x: Any = trainer.precision_plugin.convert_input(batch.to(module.device).float() / 255)
            for space, features in module.encoder(x, spaces).items():
                found[space].append(features.float().cpu())
    return {space: torch.cat(parts) for space, parts in found.items()}
