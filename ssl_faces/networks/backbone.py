"""Encoders by name for methods that take any: FaceCycle's, ResNets, ViTs, all of timm."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import PictureSide, WidthFactor, check_fields
from ssl_faces.encoders.encoder import FaceEncoder
from ssl_faces.networks.motion_encoder import MotionEncoder
from ssl_faces.networks.pointwise import without_small_strided

NAMES = ("facecycle", "resnet18", "resnet50", "vit_tiny", "vit_small")
TIMM = "timm:"
CodesFrom = Literal["representation", "map"]
PATCH = 8  # side of a ViT's patches: 64 tokens of a picture of 64 px


@dataclass(frozen=True)
class EncoderSettings:
    """Which encoder.

    Attributes:
        name: `facecycle`, the motion encoder of FaceCycle; `resnet18`, `resnet50` with a stem for
            small pictures; `vit_tiny`, `vit_small` with patches of 8 px; or `timm:NAME`, any
            architecture of timm as it is there, untrained.
        input_size: side of the pictures.
        width: factor on the number of channels; of ResNets and FaceCycle's.
    """

    name: str = "resnet18"
    input_size: PictureSide = 64
    width: WidthFactor = 1.0


RESNET18 = EncoderSettings()
VIT_TINY = EncoderSettings("vit_tiny")


class BackboneEncoder(FaceEncoder):
    """An encoder that methods train whole, without a code of its own meaning.

    Feature spaces, as far as the architecture has them: `pooled`, the mean of the last map or of
    the patch tokens (of FaceCycle's, which has no pooling, its code); `class_token` of ViTs;
    `map_2x2`, the last map averaged to 2x2, channel-first: four times as long, and it tells where.
    Beside them the codes that a method asks for.

    Args:
        name, input_size, width: see `EncoderSettings`.
        codes: lengths of codes by their names: each is a space of its own, a linear layer on the
            representation (the class token where there is one, else `pooled`).
        codes_from: `representation`, or `map`: codes then are of the whole last map, channel-first,
            as FaceCycle's is, and know where things are.

    Raises:
        ValueError: no such name, or a size, width or code that it can't have.
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
        config = asdict(EncoderSettings(name, input_size, width))
        lengths = dict(codes or {})
        told: dict[str, Any] = {"codes": lengths} if lengths else {}
        if codes_from != "representation":
            told["codes_from"] = codes_from
        super().__init__(input_size, config | told)
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
            inputs = self._map_length()
        for code, length in lengths.items():
            taken = code in self.feature_dims or hasattr(self.codes, code)
            if taken or not code.isidentifier() or length < 1:
                raise ValueError(
                    f"codes: {code} of length {length}; give names beside "
                    f"{', '.join(self.feature_dims)}, and lengths from 1"
                )
            self.codes[code] = nn.Linear(inputs, length)
            self.feature_dims[code] = length

    def _dims_of(self, side: int) -> dict[str, int]:
        """Of the architecture's own spaces, seen on one picture: what timm's give differs."""
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                found = self.features(torch.zeros(1, 3, side, side), ())
        finally:
            self.network.train(training)
        return {space: value.shape[1] for space, value in found.items()}

    def _map_length(self) -> int:
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                side = self.input_size
                return self._map_of(self._seen(torch.zeros(1, 3, side, side))).numel()
        except InputError as error:
            raise ValueError(f"codes_from: map, but {error}") from error
        finally:
            self.network.train(training)

    def takes(self, side: int) -> bool:
        """Whether it gives the same kind of features of pictures of another side, too."""
        try:
            own = self._dims_of(side)
        except (AssertionError, RuntimeError, ValueError):
            return False
        return own == {k: v for k, v in self.feature_dims.items() if k not in self.codes}

    @property
    def is_vit(self) -> bool:
        """Whether it is a plain ViT of timm, whose tokens can be left out."""
        from timm.models.vision_transformer import VisionTransformer

        # Those derived from it have tokens or positions of their own.
        return type(self.network) is VisionTransformer and self.network.pos_embed is not None

    def fix_positions(self) -> None:
        """Give a ViT the sine-cosine position embedding of MoCo v3 and MAE, which isn't trained."""
        from lightly.models.utils import initialize_2d_sine_cosine_positional_embedding

        without = self.network.no_embed_class  # positions of the class token
        initialize_2d_sine_cosine_positional_embedding(
            self.network.pos_embed,
            num_prefix_tokens=0 if without else self.network.num_prefix_tokens,
        )

    def features(self, x: Tensor, spaces: Collection[str]) -> dict[str, Tensor]:
        seen = self._seen(x)
        found = self._spaces_of(seen)
        wanted = [code for code in self.codes if code in spaces]
        if not wanted:
            return found
        whole = self.codes_from == "map"
        of = self._map_of(seen).flatten(1) if whole else found[self.representation]
        return found | {code: self.codes[code](of) for code in wanted}

    def _seen(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last map or the tokens, and of FaceCycle's encoder the code."""
        if isinstance(self.network, MotionEncoder):
            conv_map, code = self.network(x)
            return conv_map, code
        return self.network.forward_features(x), None

    def _spaces_of(self, seen: tuple[Tensor, Tensor | None]) -> dict[str, Tensor]:
        found, code = seen
        if code is not None:
            return {"pooled": code, "map_2x2": _map_2x2(found)}
        return self.spaces_of(found)

    def codes_of(self, representation: Tensor) -> dict[str, Tensor]:
        """All codes, by name, of representations [B, D]."""
        return {code: layer(representation) for code, layer in self.codes.items()}

    def spaces_of(self, found: Tensor) -> dict[str, Tensor]:
        """Feature spaces of what timm's `forward_features` gives: a map [B, C, h, w] or tokens
        [B, n, D]."""
        if found.ndim == 4 and found.shape[1] == self.network.num_features:
            pooled = self.network.forward_head(found, pre_logits=True)
            return {"pooled": pooled, "map_2x2": _map_2x2(found)}
        if found.ndim == 3 and getattr(self.network, "cls_token", None) is not None:
            patches = found[:, self.network.num_prefix_tokens :]
            return {"class_token": found[:, 0], "pooled": patches.mean(1)}
        return {"pooled": self.network.forward_head(found, pre_logits=True)}

    def last_map(self, x: Tensor) -> Tensor:
        """The last map [B, C, h, w] of normalised pictures; ViTs' patch tokens in their places.

        Raises:
            InputError: this architecture has no such map.
        """
        if isinstance(self.network, MotionEncoder):
            return self.network.convs(x)
        return self._map_of(self._seen(x))

    def _map_of(self, seen: tuple[Tensor, Tensor | None]) -> Tensor:
        found, code = seen
        if code is not None or (found.ndim == 4 and found.shape[1] == self.network.num_features):
            return found
        if found.ndim == 3 and hasattr(self.network, "num_prefix_tokens"):
            patches = found[:, self.network.num_prefix_tokens :]
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
    """A new encoder, with weights drawn from torch's random numbers, and with these codes.

    Raises:
        InputError: no such encoder, or a size or width that it can't have.
    """
    check_fields(settings, "model.encoder")
    try:
        return BackboneEncoder(**asdict(settings), codes=codes, codes_from=codes_from)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise InputError(f"model.encoder: {error}") from error


def _map_2x2(found: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(found, 2).flatten(1)


def _network(name: str, size: int, width: float) -> nn.Module:
    import timm  # a second, and only these encoders need it

    if name == "facecycle":
        # First weights as in the config of short runs of FaceCycle.
        return MotionEncoder(round(64 * width), input_size=size, linear_std=0.04)
    if name in ("resnet18", "resnet50"):
        channels = tuple(round(c * width) for c in (64, 128, 256, 512))
        network: Any = timm.create_model(name, num_classes=0, channels=channels)
        # ImageNet's stem divides the side by 4, this one by 2: 64 px end as a map of 4x4.
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
    # Architectures differ in what they know of the pictures' size.
    sizes: tuple[dict[str, Any], ...] = (
        {"img_size": size, "dynamic_img_size": True},
        {"img_size": size},
    )
    for known in sizes:
        with suppress(TypeError):
            return timm.create_model(architecture, num_classes=0, **known)
    return timm.create_model(architecture, num_classes=0)
