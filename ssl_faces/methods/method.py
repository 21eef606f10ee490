"""What every pretraining method is: a LightningModule that owns an encoder and can be looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.common.finite import check_weights
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.training.checkpoints import load_checkpoint

Edit = Callable[..., Tensor]

NEUTRAL, FRONTAL = "neutral face", "frontal face"
SWAP, MOTION, MEAN = "identity swap", "motion transfer", "mean face"
"""What methods may do to pictures, see `Method.edits`."""

OF_TWO = (SWAP, MOTION)
"""Those that take a second face: the person that is to be seen."""


@contextmanager
def in_eval_mode(module: nn.Module, device: torch.device, seed: int = 0) -> Iterator[None]:
    """Without gradients and in eval mode, with random numbers that follow from the seed.

    Afterwards modes and random numbers are as they were: running averages, such as those of batch
    normalisation, don't change.
    """
    # Part by part: some may be frozen, in eval mode for good.
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
        encoder: what is kept when training is over.
    """

    name: str
    encoder: FaceEncoder
    adjustable: tuple[str, ...] = ()
    """Arguments of the optimiser that a resumed run may change; they act from the next step on."""
    by_content: ClassVar[Mapping[str, str]] = {}
    """Arguments that name files of frozen weights, with the prefix of these in `state_dict`."""

    @abstractmethod
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Pictures [N, 3, S, S] in [0, 1] to look at, by name; flows are [N, 2, h, w]."""

    def by_products(self) -> dict[str, nn.Module]:
        """Networks beside the encoder that other runs may start from, by the name of their file."""
        return {}

    def edits(self) -> dict[str, Edit]:
        """What the method can do to pictures, by name; none unless it says so.

        `neutral face` and `frontal face` take pictures float [B, 3, S, S] in [0, 1] of side
        `picture_size` and give as many, the same faces neutral, or neutral and frontal;
        `identity swap` takes two such batches and gives the faces of the first as the people of
        the second; `motion transfer` takes two, too, and gives the people of the second (their
        light and colours with them) the expression and pose of the first. `mean face` gives the
        neutral faces with their identity taken out. The same pictures give the same result,
        whatever the batch they are in.
        """
        return {}

    def flow_of(self, images: Tensor) -> Tensor | None:
        """The flow [B, 2, h, w] that makes pictures neutral, as warping takes it; None where the
        method has none.

        Args:
            images: as for `edits`.
        """
        return None

    def edit_networks(self) -> tuple[str, ...]:
        """Names of the networks beside the encoder that `edits` need; see `state_dict`."""
        return ()

    @property
    def picture_size(self) -> int:
        """Side of the pictures that `edits` take."""
        return self.encoder.input_size

    @contextmanager
    def editing(self, seed: int = 0) -> Iterator[None]:
        """Without gradients, in eval mode, with random numbers that follow from the seed; all is
        as it was afterwards."""
        with in_eval_mode(self, self.device, seed):
            yield

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["method"] = self.name


def read_checkpoint(path: Path | str, method: str | None = None) -> dict[str, Any]:
    """A training checkpoint's contents, of this method if given; none of its code is run.

    Raises:
        InputError: no such file, not a whole checkpoint, one of another method, or weights that
            are NaN or infinite.
    """
    try:
        checkpoint = load_checkpoint(path)
        if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
            raise ValueError("it holds no training state")
    except FileNotFoundError as error:
        raise InputError(
            f"checkpoint {path}: no such file; give a run's checkpoints/last.ckpt"
        ) from error
    except Exception as error:
        raise InputError(
            f"checkpoint {path}: can't be used ({reason_of(error)}); give a run's "
            "checkpoints/last.ckpt"
        ) from error
    if method is not None:
        check_method(path, checkpoint, method)
    check_weights(
        f"checkpoint {path}",
        checkpoint["state_dict"],
        "the file is damaged, or training diverged: give another, or train again",
    )
    return checkpoint


def check_method(path: Path | str, checkpoint: Mapping[str, Any], method: str) -> None:
    """Raises InputError where a checkpoint is not of this method."""
    found = checkpoint.get("method", "another program")
    if found != method:
        raise InputError(
            f"checkpoint {path}: is of {found}, not of {method}; "
            f"give a checkpoint of a {method} run"
        )


def load_weights(path: Path | str, method: Method, state: Mapping[str, Tensor]) -> None:
    """Put the weights `state` of the checkpoint `path` into a method built like it.

    Raises:
        InputError: they are not those of such a method.
    """
    try:
        method.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"checkpoint {path}: its weights are not those of a {method.name} of its settings; it "
            "was made by another version, train again"
        ) from error
