"""What every pretraining method is: a LightningModule that owns an encoder and can be looked at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ssl_faces.encoder import FaceEncoder
from ssl_faces.errors import InputError


class Method(pl.LightningModule, ABC):
    """A pretraining method.

    Attributes:
        name: the method's name in configs, cards and checkpoints.
        encoder: what is kept when training is over.
    """

    name: str
    encoder: FaceEncoder

    @abstractmethod
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Pictures [N, 3, S, S] in [0, 1] to look at, by name; flows are [N, 2, h, w]."""

    def by_products(self) -> dict[str, nn.Module]:
        """Networks beside the encoder that other runs may start from, by the name of their file."""
        return {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["method"] = self.name


def read_checkpoint(path: Path | str, method: str | None = None) -> dict[str, Any]:
    """A training checkpoint's contents, of this method if given; none of its code is run.

    Raises:
        InputError: no such file, not a whole checkpoint, or one of another method.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
            raise ValueError("it holds no training state")
    except FileNotFoundError as error:
        raise InputError(
            f"checkpoint {path}: no such file; give a run's checkpoints/last.ckpt"
        ) from error
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"checkpoint {path}: can't be used ({reason[:200]}); give a run's checkpoints/last.ckpt"
        ) from error
    found = checkpoint.get("method", "another program")
    if method is not None and found != method:
        raise InputError(
            f"checkpoint {path}: is of {found}, not of {method}; "
            f"give a checkpoint of a {method} run"
        )
    return checkpoint
