"""Encoders by name: FaceCycle's, ResNets, ViTs, and all of timm."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import ImageSide, WidthFactor, check_fields
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.encoders.start import start_from
from ssl_faces.networks.motion_encoder import MotionEncoder
from ssl_faces.networks.pointwise import without_small_strided

NAMES = ("facecycle", "resnet18", "resnet50", "vit_tiny", "vit_small")
TIMM = "timm:"
CodesFrom = Literal["representation", "map"]
PATCH = 8  # side of a ViT's patches: 64 tokens for an image of 64 px


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of an encoder.

    Attributes:
        name: `facecycle` (its motion encoder), `resnet18` or `resnet50` (with a stem for small
            images), `vit_tiny` or `vit_small` (with patches of 8 px), or `timm:NAME`, any
            architecture of timm, untrained.
        input_size: side of the images in pixels.
        width: factor on the number of channels, for ResNets and FaceCycle's.
        weights: start from the weights of an encoder of the same architecture: a released name, the
            folder of a run or encoder, or a `.safetensors` or `.ckpt` of ours; None: random.
    """

    name: str = "resnet18"
    input_size: ImageSide = 64
    width: WidthFactor = 1.0
    weights: str | None = None


RESNET18 = EncoderSettings()
VIT_TINY = EncoderSettings("vit_tiny")


class BackboneEncoder(FaceEncoder):
    """An encoder with an arbitrary architecture.

    Feature spaces, depending on the architecture: `pooled`, the mean of the last map or of the
    patch tokens (for FaceCycle's, which has no pooling, its code); `class_token` of ViTs;
    `map_2x2`, the last map pooled to 2x2, channel-first, which keeps positions. A method can add
    codes.

    Args:
        name, input_size, width: see `EncoderSettings`.
        codes: lengths of additional codes by name. Each is a feature space, a linear layer on the
            representation (`class_token` if there is one, otherwise `pooled`).
        codes_from: `representation`, or `map` for linear layers on the whole last map,
            channel-first, like FaceCycle's code.

    Raises:
        ValueError: an unknown name, or an unsupported size, width or code.
    """

    encoder_name = "backbone"
    network: Any

    def __init__(
        self,
        name: str = "resnet18",
        input_size: int = 64,
        width: float = 1.0,
        codes: Mapping[str, int] | None = None,
        codes_from: CodesFrom = "representation",
    ) -> None:
        config: dict[str, Any] = {"name": name, "input_size": input_size, "width": width}
        lengths = dict(codes or {})
        if lengths:
            config["codes"] = lengths
        if codes_from != "representation":
            config["codes_from"] = codes_from
        super().__init__(input_size, config)
        if input_size < 16:
            raise ValueError(f"input_size: {input_size}; give 16 at least")
        if not 1 / 16 <= width <= 16:
            raise ValueError(f"width: {width:g}; give a factor from 0.0625 to 16")
        if width != 1 and name.startswith(("vit_", TIMM)):
            raise ValueError(f"width: {width:g}, but {name} has no other width than 1")
        if codes_from not in ("representation", "map"):
            raise ValueError(f"codes_from: '{codes_from}'; give representation or map")
        self.codes_from = codes_from
        self.network = without_small_strided(_network(name, input_size, width))
        self.codes = nn.ModuleDict()
        self.feature_dims = self._dims_of(input_size)
        self.representation = "class_token" if "class_token" in self.feature_dims else "pooled"
        inputs = self.feature_dims[self.representation]
        if codes_from == "map":
            try:
                inputs = self._probe(lambda x: self._map_of(self._seen(x)), input_size).numel()
            except InputError as error:
                raise ValueError(f"codes_from: map, but {error}") from error
        for code, length in lengths.items():
            used = code in self.feature_dims or hasattr(self.codes, code)
            if used or not code.isidentifier() or length < 1:
                raise ValueError(
                    f"codes: {code} of length {length}; give names beside "
                    f"{', '.join(self.feature_dims)}, and lengths from 1"
                )
            self.codes[code] = nn.Linear(inputs, length)
            self.feature_dims[code] = length

    def _probe(self, call: Callable[[Tensor], Any], side: int) -> Any:
        """The result for a black image of this side, in eval mode."""
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                return call(torch.zeros(1, 3, side, side))
        finally:
            self.network.train(training)

    def _dims_of(self, side: int) -> dict[str, int]:
        """Lengths of the architecture's own feature spaces."""
        features = self._probe(lambda x: self.features(x, ()), side)
        return {space: value.shape[1] for space, value in features.items()}

    def takes(self, side: int) -> bool:
        """Whether images of another side have features of the same lengths."""
        try:
            own = self._dims_of(side)
        except (AssertionError, RuntimeError, ValueError):
            return False
        return own == {k: v for k, v in self.feature_dims.items() if k not in self.codes}

    @property
    def is_vit(self) -> bool:
        """Whether it is a plain ViT of timm, whose tokens can be masked."""
        from timm.models.vision_transformer import VisionTransformer

        # Derived classes have other tokens or positions.
        return type(self.network) is VisionTransformer and self.network.pos_embed is not None

    def fix_positions(self) -> None:
        """Use the fixed sine-cosine position embedding of MoCo v3 and MAE in a ViT, or fix the one
        that training starts from."""
        if self.start is not None:
            self.network.pos_embed.requires_grad_(False)
            return
        from lightly.models.utils import initialize_2d_sine_cosine_positional_embedding

        without = self.network.no_embed_class  # positions of the class token
        initialize_2d_sine_cosine_positional_embedding(
            self.network.pos_embed,
            num_prefix_tokens=0 if without else self.network.num_prefix_tokens,
        )

    def features(self, x: Tensor, spaces: Collection[str]) -> dict[str, Tensor]:
        output = self._seen(x)
        features = self._spaces_of(output)
        wanted = [code for code in self.codes if code in spaces]
        if not wanted:
            return features
        from_map = self.codes_from == "map"
        inputs = self._map_of(output).flatten(1) if from_map else features[self.representation]
        return features | {code: self.codes[code](inputs) for code in wanted}

    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last map or the tokens, and the code of FaceCycle's encoder."""
        if isinstance(self.network, MotionEncoder):
            conv_map, code = self.network(x)
            return conv_map, code
        return self.network.forward_features(x), None

    def _spaces_of(self, seen: tuple[Tensor, Tensor | None]) -> dict[str, Tensor]:
        output, code = seen
        if code is not None:
            return {"pooled": code, "map_2x2": _map_2x2(output)}
        return self.spaces_of(output)

    def codes_of(self, representation: Tensor) -> dict[str, Tensor]:
        """All codes by name, from representations [B, D]."""
        return {code: layer(representation) for code, layer in self.codes.items()}

    def spaces_of(self, output: Tensor) -> dict[str, Tensor]:
        """Feature spaces of timm's `forward_features`: a map [B, C, h, w] or tokens [B, n, D]."""
        if output.ndim == 4 and output.shape[1] == self.network.num_features:
            pooled = self.network.forward_head(output, pre_logits=True)
            return {"pooled": pooled, "map_2x2": _map_2x2(output)}
        if output.ndim == 3 and getattr(self.network, "cls_token", None) is not None:
            patches = output[:, self.network.num_prefix_tokens :]
            return {"class_token": output[:, 0], "pooled": patches.mean(1)}
        return {"pooled": self.network.forward_head(output, pre_logits=True)}

    def last_map(self, x: Tensor) -> Tensor:
        """The last map [B, C, h, w] of normalised images; for ViTs, the grid of patch tokens.
        Raises InputError: the architecture has no map."""
        if isinstance(self.network, MotionEncoder):
            return self.network.convs(x)
        return self._map_of(self._seen(x))

    def _map_of(self, seen: tuple[Tensor, Tensor | None]) -> Tensor:
        output, code = seen
        if code is not None or (output.ndim == 4 and output.shape[1] == self.network.num_features):
            return output
        if output.ndim == 3 and hasattr(self.network, "num_prefix_tokens"):
            patches = output[:, self.network.num_prefix_tokens :]
            side = math.isqrt(patches.shape[1])
            return patches.transpose(1, 2).unflatten(2, (side, side))
        raise InputError(
            f"model.encoder.name: {self.config['name']} gives no map [C, h, w]; choose one of "
            f"{', '.join(NAMES)}"
        )


def new_encoder(
    settings: EncoderSettings,
    codes: Mapping[str, int] | None = None,
    codes_from: CodesFrom = "representation",
) -> BackboneEncoder:
    """A new encoder, with random weights or those of `settings.weights`. Raises InputError: an
    unknown encoder, an unsupported size, width or code, or weights of another architecture."""
    check_fields(settings, "model.encoder")
    architecture = asdict(settings)
    weights = architecture.pop("weights")
    try:
        encoder = BackboneEncoder(**architecture, codes=codes, codes_from=codes_from)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise InputError(f"model.encoder: {error}") from error
    if weights is not None:
        encoder.start = start_from(encoder, weights)
    return encoder


def _map_2x2(last: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(last, 2).flatten(1)


def _network(name: str, size: int, width: float) -> nn.Module:
    import timm  # takes a second

    if name == "facecycle":
        # Initial weights as in FaceCycle's config for short runs.
        return MotionEncoder(round(64 * width), input_size=size, linear_std=0.04)
    if name in ("resnet18", "resnet50"):
        channels = tuple(round(c * width) for c in (64, 128, 256, 512))
        network: Any = timm.create_model(name, num_classes=0, channels=channels)
        # Stride 2 instead of ImageNet's 4: images of 64 px have a last map of 4x4.
        network.conv1 = nn.Conv2d(3, network.conv1.out_channels, 3, 2, 1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        network.maxpool = nn.Identity()
        return network
    if name in ("vit_tiny", "vit_small"):
        if size % PATCH:
            raise ValueError(f"input_size: {size}; {name} needs a multiple of {PATCH}")
        return timm.create_model(
            f"{name}_patch16_224",
            num_classes=0,
            img_size=size,
            patch_size=PATCH,
            dynamic_img_size=True,
        )
    if not name.startswith(TIMM):
        raise ValueError(f"name: '{name}'; give one of {', '.join(NAMES)}, or timm:NAME")
    architecture = name.removeprefix(TIMM)
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.4)
        hint = f"near it are {', '.join(near)}" if near else "see timm.list_models()"
        raise ValueError(f"name: timm has no '{architecture}'; {hint}")
    # Architectures differ in their arguments about the image size.
    arguments: dict[str, Any] = {"img_size": size, "dynamic_img_size": True}
    while arguments:
        with suppress(TypeError):
            return timm.create_model(architecture, num_classes=0, **arguments)
        arguments.popitem()
    return timm.create_model(architecture, num_classes=0)
