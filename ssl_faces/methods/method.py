"""Base class of all pretraining methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.encoders.encoder import FaceEncoder

Edit = Callable[..., Tensor]

NEUTRAL, FRONTAL = "neutral face", "frontal face"
SWAP, MOTION, MEAN = "identity swap", "motion transfer", "mean face"
"""Edits of images, see `Method.edits`."""

TWO_FACE_EDITS = (SWAP, MOTION)
"""Edits that take a second face: the person to show."""


@contextmanager
def in_eval_mode(module: nn.Module, device: torch.device, seed: int = 0) -> Iterator[None]:
    """Eval mode without gradients and with seeded random numbers.

    Modes and random state are restored afterwards; running averages don't change.
    """
    # Module by module: frozen ones stay in eval mode.
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        devices = [device] if device.type == "cuda" else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            yield
    finally:
        for part, mode in modes:
            part.training = mode


class Method(pl.LightningModule, ABC):
    """A pretraining method.

    Attributes:
        name: the method's name in configs, cards and checkpoints.
        encoder: the network that is saved after training.
    """

    name: str
    encoder: FaceEncoder
    adjustable: tuple[str, ...] = ()
    """Arguments of the optimiser that may change on resume; effective from the next step."""
    by_content: ClassVar[Mapping[str, str]] = {}
    """Arguments that are files of frozen weights, with their prefix in `state_dict`."""

    @abstractmethod
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Images [N, 3, S, S] in [0, 1] to look at, by name; flows are [N, 2, h, w]."""

    def extra_networks(self) -> dict[str, nn.Module]:
        """Networks beside the encoder that other runs can start from, by file name."""
        return {}

    def edits(self) -> dict[str, Edit]:
        """Supported edits by name; none by default.

        An edit takes images float [B, 3, S, S] in [0, 1] of side `picture_size` and returns as
        many. `neutral face` and `frontal face` make faces neutral, or neutral and frontal.
        `mean face` is the neutral face with the identity removed. `identity swap` takes two batches
        and shows the people of the second with the expression, pose and light of the first;
        `motion transfer` keeps the light and colours of the second. Results don't depend on other
        images of the batch.
        """
        return {}

    def flow_of(self, images: Tensor) -> Tensor | None:
        """The flow [B, 2, h, w] that makes images (see `edits`) neutral; None without flows."""
        return None

    def edit_networks(self) -> tuple[str, ...]:
        """Names of the networks beside the encoder that `edits` need."""
        return ()

    @property
    def picture_size(self) -> int:
        """Side of the images that `edits` take."""
        return self.encoder.input_size

    @contextmanager
    def editing(self, seed: int = 0) -> Iterator[None]:
        """`in_eval_mode` for this method."""
        with in_eval_mode(self, self.device, seed):
            yield

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["method"] = self.name


def check_method(path: Path | str, checkpoint: Mapping[str, Any], method: str) -> None:
    """Raise InputError if a checkpoint is of another method."""
    name = checkpoint.get("method", "another program")
    if name != method:
        raise InputError(
            f"checkpoint {path}: is of {name}, not of {method}; give a checkpoint of a {method} run"
        )


def load_weights(
    path: Path | str, method: Method, state: Mapping[str, Tensor], part: nn.Module | None = None
) -> None:
    """Load the weights `state` of the checkpoint `path` into a method, or into a `part` of it.

    Raises:
        InputError: names or shapes differ.
    """
    try:
        (method if part is None else part).load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"checkpoint {path}: its weights are not those of a {method.name} of its settings; it "
            "was made by another version, train again"
        ) from error
