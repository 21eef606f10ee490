"""What methods share that train one encoder whole by the pictures of a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, cast

import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import check_ranges
from ssl_faces.methods.method import Method
from ssl_faces.methods.optimizer import OptimizerSettings, cosine
from ssl_faces.networks.backbone import BackboneEncoder, EncoderSettings, new_encoder


class EncoderMethod(Method):
    """A method that trains an encoder by a loss of pictures.

    Batches: `pairs`, float [b, 2, 3, S, S] in [0, 1]: two views of one picture, or two pictures of
    one person, as `data.positives` and `data.augmentation` have it.

    A subclass gives `terms` and `panels`, and assigns the networks that it needs beside the encoder
    in its constructor.

    Args:
        encoder: which encoder.
        optimizer: how it is trained.
        codes: names and lengths of codes that the encoder is to have beside its own spaces.
        settings: all arguments of the subclass's constructor but the first two, for checkpoints;
            `codes_from` among them is the encoder's, too (see `BackboneEncoder`).

    Raises:
        InputError: no such encoder, or a setting out of range.
    """

    encoder: BackboneEncoder
    least_pairs = 1
    """Pairs that a batch must have to be trained on."""
    adjustable = tuple(f"optimizer.{f.name}" for f in fields(OptimizerSettings) if f.name != "name")

    def __init__(
        self,
        encoder: EncoderSettings,
        optimizer: OptimizerSettings,
        codes: Mapping[str, int] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        check_ranges(type(self).__init__, settings, "model")
        # Plain values: checkpoints are read without running code.
        given = {
            "encoder": asdict(encoder),
            "optimizer": plain(asdict(optimizer)),
            **plain(settings),
        }
        self.save_hyperparameters(given)
        self.optimizer_settings = optimizer
        self._autocast = False
        self.encoder = new_encoder(encoder, codes, settings.get("codes_from", "representation"))
        self.representation = self.encoder.representation
        self.representation_dim = self.encoder.feature_dims[self.representation]

    @abstractmethod
    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss terms of a batch.

        Called without autocast: heads and losses cost little and are computed in float32. What
        costs is to be called within `reduced_precision`.
        """

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """What is minimised: their sum."""
        return cast(Tensor, sum(terms.values()))

    def represent(self, x: Tensor, encoder: BackboneEncoder | None = None) -> Tensor:
        """float32 [B, representation_dim]: what heads and codes are put on, of normalised pictures.

        Args:
            encoder: another one than the method's own, built like it.
        """
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
            terms = self.terms(batch)
            total = self.total(terms)
        self.log("loss", total, prog_bar=True)
        if len(terms) > 1:
            self.log_dict({f"loss/{name}": value for name, value in terms.items()})
        return total

    def checked(self, batch: Mapping[str, Any]) -> Tensor:
        """The batch's pairs [b, 2, 3, S, S].

        Raises:
            InputError: too few pairs, or pictures of another side than the encoder's.
        """
        pairs: Tensor = batch["pairs"]
        if len(pairs) < self.least_pairs and self.training:
            raise InputError(
                f"data.batch_size: {len(pairs)}; {self.name} compares the pairs of a batch: give "
                f"at least {self.least_pairs} on each device"
            )
        side, size = pairs.shape[-1], self.encoder.input_size
        if side != size:
            raise InputError(
                f"data.size: pictures of side {side} for an encoder of input_size {size}; set "
                f"--data.size {size}, or --model.encoder.input_size {side}"
            )
        return pairs

    def views(self, batch: Mapping[str, Any]) -> Tensor:
        """Normalised pictures [2b, 3, S, S]: the first ones of the pairs, then the second ones.

        Raises:
            InputError: as `checked` does.
        """
        x = self.encoder.normalise(self.checked(batch).transpose(0, 1).flatten(0, 1))
        return x.contiguous(memory_format=torch.channels_last)

    def configure_optimizers(self) -> Any:
        return cosine(self, self.children(), self.optimizer_settings)


class ViewsMethod(EncoderMethod):
    """A method whose loss needs no more of a batch than its pictures; a subclass gives `losses`."""

    @abstractmethod
    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """The loss terms of normalised pictures x [2b, 3, S, S]: the first ones of b pairs, then
        the second ones; called as `terms` is."""

    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss terms of a batch."""
        return self.losses(self.views(batch))


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with lists for tuples, which checkpoints can have without code."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
