"""What methods share that compare embeddings of the two pictures of a pair."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Tensor, nn

from ssl_faces.errors import InputError
from ssl_faces.methods.method import Method
from ssl_faces.methods.optimizer import OptimizerSettings, cosine
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder


class JointEmbedding(Method):
    """A method that trains an encoder by a loss of both pictures of each pair.

    Batches: `pairs`, float [b, 2, 3, S, S] in [0, 1]: two views of one picture, or two pictures of
    one person, as `data.positives` and `data.augmentation` have it.

    A subclass gives `losses`, and assigns the networks that it needs beside the encoder in its
    constructor.

    Args:
        encoder: which encoder.
        optimizer: how it is trained.
        codes: names and lengths of codes that the encoder is to have beside its own spaces.
        settings: all arguments of the subclass's constructor but the first two, for checkpoints.

    Raises:
        InputError: no such encoder.
    """

    encoder: BackboneEncoder
    compares_pairs = True  # whether its loss needs more than one pair

    def __init__(
        self,
        encoder: EncoderSettings,
        optimizer: OptimizerSettings,
        codes: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        # Plain values: checkpoints are read without running code.
        given = {"encoder": asdict(encoder), "optimizer": plain(asdict(optimizer)), **settings}
        self.save_hyperparameters(given)
        self.optimizer_settings = optimizer
        self._autocast = False
        self.encoder = new_encoder(encoder, codes)
        self.representation = self.encoder.representation
        self.representation_dim = self.encoder.feature_dims[self.representation]

    @abstractmethod
    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """The loss terms, whose sum is minimised, of normalised pictures x [2b, 3, S, S]: the first
        ones of b pairs, then the second ones.

        Called without autocast: heads and losses cost little and are computed in float32. Encoders
        are to be called by `represent`, or within `reduced_precision`.
        """

    def represent(self, x: Tensor, encoder: BackboneEncoder | None = None) -> Tensor:
        """float32 [B, representation_dim]: what heads are put on, of normalised pictures."""
        encoder = encoder or self.encoder
        with self.reduced_precision():
            found = encoder.features(x, (self.representation,))[self.representation]
        return found.float()

    def reduced_precision(self) -> torch.autocast:
        """The run's precision, within which networks that cost are called."""
        kind = self.device.type
        return torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=self._autocast)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self._autocast = torch.is_autocast_enabled(self.device.type)
        with torch.autocast(self.device.type, enabled=False):
            losses = self.losses(self.views(batch))
        total = cast(Tensor, sum(losses.values()))
        self.log("loss", total, prog_bar=True)
        if len(losses) > 1:
            self.log_dict({f"loss/{name}": value for name, value in losses.items()})
        return total

    def views(self, batch: Mapping[str, Any]) -> Tensor:
        """Normalised pictures [2b, 3, S, S]: the first ones of the pairs, then the second ones.

        Raises:
            InputError: a batch of one pair, or pictures of another side than the encoder's.
        """
        pairs = batch["pairs"]
        if len(pairs) < 2 and self.training and self.compares_pairs:
            raise InputError(
                f"data.batch_size: 1; {self.name} compares the pairs of a batch: give at least 2 "
                "on each device"
            )
        side, size = pairs.shape[-1], self.encoder.input_size
        if side != size:
            raise InputError(
                f"data.size: pictures of side {side} for an encoder of input_size {size}; set "
                f"--data.size {size}, or --model.encoder.input_size {side}"
            )
        x = self.encoder.normalise(pairs.transpose(0, 1).flatten(0, 1))
        return x.contiguous(memory_format=torch.channels_last)

    def configure_optimizers(self) -> Any:
        return cosine(self, self.children(), self.optimizer_settings)

    @torch.no_grad()
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Both pictures of the pairs [b, 3, S, S] in [0, 1], which should still be of one face."""
        first, second = batch["pairs"].unbind(1)
        return {"first": first, "second": second}


class Teacher(nn.Module):
    """An exponential moving average of an encoder and its projector, which has no gradient.

    As in MoCo (He et al. 2020), BYOL (Grill et al. 2020) and DINO (Caron et al. 2021): its momentum
    rises with a cosine from `momentum` to 1 over the run.

    Args:
        encoder, projector: what it is an average of; it begins equal to them.
        momentum: at the start.
    """

    def __init__(self, encoder: BackboneEncoder, projector: nn.Module, momentum: float) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise InputError(f"model.momentum: {momentum:g}; give a number from 0 to 1")
        self.encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.projector = copy.deepcopy(projector).requires_grad_(False)
        self.momentum = momentum

    @torch.no_grad()
    def follow(self, encoder: nn.Module, projector: nn.Module, step: int, steps: int) -> float:
        """Move towards the student; gives the momentum of this `step` of `steps`."""
        from lightly.models.utils import update_momentum
        from lightly.utils.scheduler import cosine_schedule

        momentum = cosine_schedule(min(step, steps - 1), steps, self.momentum, 1.0)
        update_momentum(encoder, self.encoder, momentum)
        update_momentum(projector, self.projector, momentum)
        return float(momentum)


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with lists for tuples, which checkpoints can have without code."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
