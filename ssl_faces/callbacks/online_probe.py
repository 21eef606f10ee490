"""Online probes of the encoder during training.

Their metrics, logged as `online/…`, are for monitoring a run. They come from a few held-out images
of the training parts, with deterministic probes of a fixed strength, and are not comparable with
`linear-probe`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.callbacks.averaging import averaged
from ssl_faces.callbacks.collapse import CollapseWatch, lidar
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.methods.method import Method, in_eval_mode
from ssl_faces.pairs.augment import PRESETS, PairAugmentation
from ssl_faces.pairs.online import Label, OnlineFaces

SAMPLE = 512
"""Number of training images to check for collapse if no images are held out."""

LIDAR_IMAGES, LIDAR_VIEWS = 256, 8
"""Number of images of which LiDAR is measured, and of augmented views of each: fewer than in the
paper, so that it takes no longer than the probes. Compare it with figures of as many only."""

_MOST_DIMS = 4096
_BATCH = 256

NOTE = (
    "online: for watching a run, from a small part of the training parts that was kept back; not "
    "comparable with the figures of linear-probe"
)


NEIGHBOURS = 50
TEMPERATURE = 0.1
"""Votes are exp(cosine / temperature): Wu et al., CVPR 2018."""

RIDGE = 1.0
"""L2 penalty for each image of the bank (scikit-learn's `alpha` is this times their number)."""

SETTINGS = f"kNN: {NEIGHBOURS} neighbours, temperature {TEMPERATURE}; linear: ridge, L2 {RIDGE:g}"


def probed_spaces(encoder: FaceEncoder) -> list[str]:
    """The feature spaces to probe: codes and pooled features, not flattened maps."""
    return [
        name
        for name, dims in encoder.feature_dims.items()
        if "map" not in name.split("_") and dims <= _MOST_DIMS
    ]


class OnlineProbe(pl.Callback):
    """Probes the encoder every `every` steps and at the end, and warns of collapse.

    For each feature space, on the held-out images (`FaceData.online`): accuracy of expression
    in % by kNN and ridge, mean absolute error of yaw in degrees by ridge (as far as these labels
    exist), effective rank, standard deviation and LiDAR (`collapse.py`; of strong views, the same
    in each step). Without held-out images only the latter three, on training images. Only the first
    process computes them; the others wait in the next step.

    Args:
        every: number of steps; 0 for never.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.watch = CollapseWatch()
        self.step = -1  # of `figures`
        self.figures: dict[str, float] = {}
        self.seconds = 0.0
        self._last = 0  # last step

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "figures": dict(self.figures),
            "told": list(self.watch.warned),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.step, self.figures = state_dict["step"], dict(state_dict["figures"])
        self.watch.warned = list(state_dict["told"])
        self.seconds = state_dict["seconds"]

    def card(self, faces: list[OnlineFaces]) -> dict[str, Any]:
        """The last metrics, with a description of the images; empty if there are none."""
        if not self.figures:
            return {}
        return {
            "note": NOTE,
            "probes": SETTINGS,
            "pictures": [f.about() for f in faces] or "training pictures, without labels",
            "step": self.step,
            "figures": {name: round(value, 4) for name, value in self.figures.items()},
            "seconds": round(self.seconds, 1),
        }

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._last = trainer.global_step
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
        # With alternating optimisers a step may count as two.
        if self.every and trainer.global_step // self.every > self._last // self.every:
            with averaged(trainer, module):
                self._probe(trainer, module)
        self._last = trainer.global_step

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.every and self.step != trainer.global_step:
            self._probe(trainer, module)

    def _probe(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        assert isinstance(module, Method)
        began = time.perf_counter()
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        held_out: list[OnlineFaces] = data.online.faces
        if held_out:
            images = held_out[0].images
            features_of_sets = [_features(trainer, module, f.images) for f in held_out]
        else:
            images = (255 * data.sample(SAMPLE)["pairs"][:, 0]).round().byte()
            features_of_sets = [_features(trainer, module, images)]
        self.step, self.figures = trainer.global_step, {}
        for space, features in features_of_sets[0].items():
            measured, warning = self.watch.measure(space, features)
            self._add(space, measured)
            if warning:
                # On a new line, not after the progress bar.
                print(f"\nwarning: step {self.step} of {module.name}: {warning}", flush=True)
        for space, features in _features(trainer, module, lidar_views(images)).items():
            if bool(features.isfinite().all()):
                measure = lidar(features.unflatten(0, (-1, LIDAR_VIEWS)))
                self._add(space, {"lidar": measure})
        for faces, spaces in zip(held_out, features_of_sets, strict=False):
            for space, features in spaces.items():
                if bool(features.isfinite().all()):
                    self._add(space, figures_of(features, faces.targets, faces.bank))
        self.seconds += time.perf_counter() - began
        for logger in trainer.loggers:
            logger.log_metrics(self.figures, step=self.step)

    def _add(self, space: str, figures: Mapping[str, float]) -> None:
        self.figures |= {f"online/{name}/{space}": value for name, value in figures.items()}


def figures_of(features: Tensor, targets: Mapping[Label, Tensor], bank: int) -> dict[str, float]:
    """Metrics of the probes on features [N, D]; the first `bank` ones are the training part."""
    figures: dict[str, float] = {}
    train, test = features[:bank], features[bank:]
    if "expression" in targets:
        labels = targets["expression"]
        accuracies = class_accuracies(train, labels[:bank], test, labels[bank:])
        figures |= {f"expression_{probe}": value for probe, value in accuracies.items()}
    if "pose" in targets:
        yaw = targets["pose"][:, :1]
        figures["yaw_mae"] = float(absolute_errors(train, yaw[:bank], test, yaw[bank:]))
    return figures


def _features(trainer: pl.Trainer, module: Method, images: Tensor) -> dict[str, Tensor]:
    """Features float32 [N, D] by space, on the CPU, of images uint8 [N, 3, S, S]."""
    spaces = probed_spaces(module.encoder)
    chunks: dict[str, list[Tensor]] = {space: [] for space in spaces}
    with in_eval_mode(module.encoder, module.device), trainer.precision_plugin.forward_context():
        for batch in images.split(_BATCH):
            x: Any = trainer.precision_plugin.convert_input(batch.to(module.device).float() / 255)
            for space, features in module.encoder(x, spaces).items():
                chunks[space].append(features.float().cpu())
    return {space: torch.cat(parts) for space, parts in chunks.items()}


def lidar_views(images: Tensor) -> Tensor:
    """Augmented views uint8 [n · LIDAR_VIEWS, 3, S, S] of up to `LIDAR_IMAGES` images, image by
    image; always the same."""
    images = images[:: math.ceil(len(images) / LIDAR_IMAGES)]
    augment = PairAugmentation(images.shape[-1], PRESETS["views"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pairs = images[:, None].expand(-1, 2, -1, -1, -1)
        views = torch.cat([augment(pairs) for _ in range(LIDAR_VIEWS // 2)], 1)
    return (255 * views.flatten(0, 1)).round().byte()


def standardised(bank: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Both [N, D], standardised by the bank's mean and deviation; constant features become 0."""
    mean, deviation = bank.mean(0), bank.std(0, correction=0)
    # Smaller deviations are rounding.
    varies = deviation > 1e-6 * mean.abs().clamp(min=1e-6)
    scale = torch.where(varies, 1 / deviation.clamp(min=1e-30), 0)
    return (bank - mean) * scale, (queries - mean) * scale


def class_accuracies(
    bank: Tensor, labels: Tensor, queries: Tensor, truth: Tensor
) -> dict[str, float]:
    """Accuracy of `knn` and `linear` (ridge on one-hot classes) on the queries, in percent.

    Args:
        bank, queries: float [N, D] and [M, D].
        labels, truth: int64 [N] and [M], classes from 0.
    """
    from lightly.utils.benchmarking import knn_predict
    from sklearn.linear_model import RidgeClassifier

    bank, queries = standardised(bank, queries)
    voted = knn_predict(
        feature=F.normalize(queries),
        feature_bank=F.normalize(bank).T.contiguous(),
        feature_labels=labels,
        num_classes=int(labels.max()) + 1,
        knn_k=min(NEIGHBOURS, len(bank)),  # it fails with fewer
        knn_t=TEMPERATURE,
    )[:, 0]
    predictions = {"knn": voted}
    if len(labels.unique()) > 1:
        ridge = RidgeClassifier(alpha=RIDGE * len(bank)).fit(bank.numpy(), labels.numpy())
        predictions["linear"] = torch.from_numpy(ridge.predict(queries.numpy()))
    return {k: 100 * float((p == truth).double().mean()) for k, p in predictions.items()}


def absolute_errors(bank: Tensor, targets: Tensor, queries: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute errors float64 [T] of ridge regression from the bank's targets.

    Args:
        bank, queries: float [N, D] and [M, D].
        targets, truth: float [N, T] and [M, T].
    """
    from sklearn.linear_model import Ridge

    bank, queries = standardised(bank, queries)
    ridge = Ridge(alpha=RIDGE * len(bank)).fit(bank.double().numpy(), targets.double().numpy())
    # Some versions drop the column of a single target.
    predicted = torch.from_numpy(ridge.predict(queries.double().numpy())).reshape(truth.shape)
    return (predicted - truth).abs().mean(0)
