"""Base classes of methods that train one encoder."""

from __future__ import annotations

import json
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
from ssl_faces.networks.backbone import BackboneEncoder, new_encoder


class EncoderMethod(Method):
    """A method that trains an encoder by a loss on images.

    Batches: `pairs`, float [b, 2, 3, S, S] in [0, 1]: two views of one image, or two images of one
    person, depending on `data.positives` and `data.augmentation`.

    A subclass defines `terms` and `panels`. Its constructor takes `encoder` (`EncoderSettings`)
    and `optimizer` (`OptimizerSettings`) first, calls this one, then adds its other networks.

    Args:
        arguments: `locals()` of the subclass's constructor, saved in checkpoints as
            hyper-parameters. `codes_from` is also passed to the encoder (see `BackboneEncoder`).
        codes: lengths of additional codes of the encoder, by name.

    Raises:
        InputError: an unknown encoder, or a setting out of range.
    """

    encoder: BackboneEncoder
    least_pairs = 1
    """Smallest batch (in pairs) for training."""
    adjustable = tuple(f"optimizer.{f.name}" for f in fields(OptimizerSettings) if f.name != "name")

    def __init__(
        self, arguments: Mapping[str, Any], codes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        settings = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}
        check_ranges(type(self).__init__, settings, "model")
        # Dictionaries and lists, so that checkpoints can be read without running code.
        self.save_hyperparameters(json.loads(json.dumps(settings, default=asdict)))
        self.optimizer_settings: OptimizerSettings = settings["optimizer"]
        self._autocast = False
        codes_from = settings.get("codes_from", "representation")
        self.encoder = new_encoder(settings["encoder"], codes, codes_from)
        self.representation = self.encoder.representation
        self.representation_dim = self.encoder.feature_dims[self.representation]

    @abstractmethod
    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss terms of a batch.

        Called without autocast: heads and losses are cheap and run in float32. Call expensive
        networks within `reduced_precision`.
        """

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The loss to minimise: the sum of the terms."""
        return cast(Tensor, sum(terms.values()))

    def weighted(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms times the settings `NAME_weight`; terms without one have weight 1."""
        return {
            name: self.hparams.get(f"{name.replace(' ', '_')}_weight", 1.0) * value
            for name, value in terms.items()
        }

    def represent(self, x: Tensor, encoder: BackboneEncoder | None = None) -> Tensor:
        """The encoder's representation, float32 [B, representation_dim], of normalised images.

        Args:
            encoder: used instead of the method's own; same architecture.
        """
        encoder = encoder or self.encoder
        with self.reduced_precision():
            features = encoder.features(x, (self.representation,))[self.representation]
        return features.float()

    def reduced_precision(self) -> torch.autocast:
        """The precision of the run (`trainer.precision`), for expensive networks."""
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
        """The pairs of a batch, [b, 2, 3, S, S].

        Raises:
            InputError: too few pairs, or images of another size than the encoder's.
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
                f"data.size: images of side {side} for an encoder of input_size {size}; set "
                f"--data.size {size}, or --model.encoder.input_size {side}"
            )
        return pairs

    def views(self, batch: Mapping[str, Any]) -> Tensor:
        """Normalised images [2b, 3, S, S]: the first ones of all pairs, then the second ones.

        Raises:
            InputError: see `checked`.
        """
        x = self.encoder.normalise(self.checked(batch).transpose(0, 1).flatten(0, 1))
        return x.contiguous(memory_format=torch.channels_last)

    def configure_optimizers(self) -> Any:
        return cosine(self, self.children(), self.optimizer_settings)


class ViewsMethod(EncoderMethod):
    """A method whose loss only needs the images of a batch.

    A subclass defines `losses`, and `shown` if it has more to look at than the pairs.
    """

    @abstractmethod
    def losses(self, x: Tensor) -> dict[str, Tensor]:
        """The loss terms of normalised images x [2b, 3, S, S], in the order of `views`."""

    def terms(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        return self.losses(self.views(batch))

    def shown(self, x: Tensor) -> dict[str, Tensor]:
        """Panels by name for x as in `losses`: normalised images [N, 3, S, S], or flows
        [N, 2, h, w]."""
        first, second = x.chunk(2)
        return {"first": first, "second": second}

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        with self.editing(), torch.autocast(self.device.type, enabled=False):
            shown = self.shown(self.views(batch))
        show = self.encoder.denormalise
        return {name: show(v) if v.shape[1] == 3 else v for name, v in shown.items()}
