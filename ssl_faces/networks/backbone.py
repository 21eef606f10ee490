"""Encoders by name for methods that take any: FaceCycle's, ResNets, ViTs, all of timm."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.encoder import FaceEncoder
from ssl_faces.errors import InputError
from ssl_faces.networks.motion_encoder import MotionEncoder

NAMES = ("facecycle", "resnet18", "resnet50", "vit_tiny", "vit_small")
TIMM = "timm:"
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
    input_size: int = 64
    width: float = 1.0


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
    ) -> None:
        config = asdict(EncoderSettings(name, input_size, width))
        lengths = dict(codes or {})
        super().__init__(input_size, config | ({"codes": lengths} if lengths else {}))
        if input_size < 16:
            raise ValueError(f"input_size: {input_size}; give 16 at least")
        if not 1 / 16 <= width <= 16:
            raise ValueError(f"width: {width:g}; give a factor from 0.0625 to 16")
        if width != 1 and name not in ("facecycle", "resnet18", "resnet50"):
            raise ValueError(f"width: {width:g}, but {name} has no other width than 1")
        self.network = _network(name, input_size, width)
        self.codes = nn.ModuleDict()
        # Seen on one picture: what timm's architectures give differs.
        training = self.network.training
        self.network.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            found = self.features(torch.zeros(1, 3, input_size, input_size), ())
        self.network.train(training)
        self.feature_dims = {space: value.shape[1] for space, value in found.items()}
        self.representation = "class_token" if "class_token" in found else "pooled"
        for code, length in lengths.items():
            taken = code in self.feature_dims or hasattr(self.codes, code)
            if taken or not code.isidentifier() or length < 1:
                raise ValueError(
                    f"codes: {code} of length {length}; give names beside "
                    f"{', '.join(self.feature_dims)}, and lengths from 1"
                )
            self.codes[code] = nn.Linear(self.feature_dims[self.representation], length)
            self.feature_dims[code] = length

    @property
    def is_vit(self) -> bool:
        """Whether it is a timm ViT, whose tokens can be left out."""
        return hasattr(self.network, "patch_embed") and hasattr(self.network, "cls_token")

    def features(self, x: Tensor, spaces: Collection[str]) -> dict[str, Tensor]:
        if isinstance(self.network, MotionEncoder):
            conv_map, code = self.network(x)
            found = {"pooled": code, "map_2x2": _map_2x2(conv_map)}
        else:
            found = self.spaces_of(self.network.forward_features(x))
        wanted = [code for code in self.codes if code in spaces]
        return found | {code: self.codes[code](found[self.representation]) for code in wanted}

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
        found: Tensor = self.network.forward_features(x)
        if found.ndim == 4 and found.shape[1] == self.network.num_features:
            return found
        if found.ndim == 3 and self.is_vit:
            patches = found[:, self.network.num_prefix_tokens :]
            side = math.isqrt(patches.shape[1])
            return patches.transpose(1, 2).unflatten(2, (side, side))
        raise InputError(
            f"model.encoder.name: {self.config['name']} gives no map [C, h, w]; choose one of "
            f"{', '.join(NAMES)}"
        )


def new_encoder(
    settings: EncoderSettings, codes: Mapping[str, int] | None = None
) -> BackboneEncoder:
    """A new encoder, with weights drawn from torch's random numbers, and with these codes.

    Raises:
        InputError: no such encoder, or a size or width that it can't have.
    """
    try:
        return BackboneEncoder(**asdict(settings), codes=codes)
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
            f"{name}_patch16_224", num_classes=0, img_size=size, patch_size=PATCH
        )
    if not name.startswith(TIMM):
        raise ValueError(f"name: '{name}'; give one of {', '.join(NAMES)}, or timm:NAME")
    architecture = name.removeprefix(TIMM)
    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=5, cutoff=0.4)
        hint = f"near it are {', '.join(near)}" if near else "see timm.list_models()"
        raise ValueError(f"name: timm has no '{architecture}'; {hint}")
    try:
        return timm.create_model(architecture, num_classes=0, img_size=size)
    except TypeError:  # of architectures that take any size
        return timm.create_model(architecture, num_classes=0)
