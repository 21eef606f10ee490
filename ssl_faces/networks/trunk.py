"""The first convolutions of VGG-19 or VGG-16, for the generator and the perceptual loss."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.common.files import regular
from ssl_faces.encoders.encoder import read_weights
from ssl_faces.encoders.places import RELEASED
from ssl_faces.encoders.state_files import load_state

Layer = Literal["relu2_1", "relu3_1", "relu4_1"]
LAYERS: tuple[Layer, ...] = ("relu2_1", "relu3_1", "relu4_1")
IMAGENET_WEIGHTS = "vgg19-dcbb9e9d.pth"
IMAGENET_URL = f"https://download.pytorch.org/models/{IMAGENET_WEIGHTS}"
HED_WEIGHTS = RELEASED / "vgg16_hed" / "trunk.safetensors"

# (name, output channels in units of width, whether a 2x2 max pool comes before it)
_CONVS = (
    ("conv1_1", 1, False),
    ("conv1_2", 1, False),
    ("conv2_1", 2, True),
    ("conv2_2", 2, False),
    ("conv3_1", 4, True),
    ("conv3_2", 4, False),
    ("conv3_3", 4, False),
    ("conv3_4", 4, False),
    ("conv4_1", 8, True),
)
_LAST_CONV: dict[Layer, str] = {
    "relu2_1": "conv2_1",
    "relu3_1": "conv3_1",
    "relu4_1": "conv4_1",
}


def convs_upto(layer: Layer) -> list[str]:
    """Names of the convolutions up to `layer`."""
    names = [name for name, _, _ in _CONVS]
    return names[: names.index(_LAST_CONV[layer]) + 1]


class VggTrunk(nn.Module):
    """VGG-19 up to relu4_1: maps of ImageNet-normalised images [B, 3, S, S].

    relu2_1 is [B, 2·width, S/2, S/2], relu3_1 [B, 4·width, S/4, S/4], relu4_1
    [B, 8·width, S/8, S/8].

    Args:
        weights: `imagenet` (torchvision's VGG-19, only for width 64), `hed` (the VGG-16 that comes
            with this package, see checkpoints/vgg16_hed; only for width 64), `random` (He-normal
            with a fixed seed), or a safetensors file of a trunk of the same width. A file of a
            VGG-16, without conv3_4, gets the identity there.
        width: channels of conv1; VGG-19 has 64.

    Raises:
        InputError: the weights are not available, or don't fit.
    """

    def __init__(self, weights: str = "imagenet", width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.convs = nn.ModuleDict()
        channels = 3
        for name, factor, _ in _CONVS:
            self.convs[name] = nn.Conv2d(channels, factor * width, 3, padding=1)
            channels = factor * width
        if weights == "random":
            self._init_random()
        elif weights == "imagenet":
            self._load_imagenet()
        else:
            self._load_file(HED_WEIGHTS if weights == "hed" else Path(weights))

    def forward(self, x: Tensor, layers: Iterable[Layer] = LAYERS) -> dict[Layer, Tensor]:
        """The named layers of `x`; later layers are not computed."""
        wanted = {_LAST_CONV[layer]: layer for layer in layers}
        maps: dict[Layer, Tensor] = {}
        for name, _, pool in _CONVS:
            if pool:
                x = nn.functional.max_pool2d(x, 2)
            x = nn.functional.relu_(self.convs[name](x))
            if name in wanted:
                maps[wanted[name]] = x
                if len(maps) == len(wanted):
                    break
        return maps

    def freeze(self) -> VggTrunk:
        """Freeze the weights; gradients still flow to the input."""
        self.requires_grad_(False)
        return self

    def _init_random(self) -> None:
        draw = torch.Generator().manual_seed(19)
        with torch.no_grad():
            for module in self.convs.values():
                assert isinstance(module, nn.Conv2d)
                assert module.bias is not None
                fan_in = module.weight[0].numel()
                module.weight.normal_(0, (2 / fan_in) ** 0.5, generator=draw)
                module.bias.zero_()

    def _load_imagenet(self) -> None:
        if self.width != 64:
            raise InputError(
                f"weights: imagenet fits a trunk of width 64 only, not {self.width}; "
                "set the trunk's width to 64, or its weights to 'random' or a file"
            )
        place = Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_WEIGHTS
        positions = (0, 2, 5, 7, 10, 12, 14, 16, 19)  # of the convs in torchvision's `features`
        try:
            if place.exists():
                state = torch.load(regular(place), map_location="cpu", weights_only=True)
            else:
                state = torch.hub.load_state_dict_from_url(
                    IMAGENET_URL, map_location="cpu", check_hash=True, weights_only=True
                )
            own = {
                f"convs.{name}.{key}": state[f"features.{position}.{key}"]
                for (name, *_), position in zip(_CONVS, positions, strict=True)
                for key in ("weight", "bias")
            }
            self.load_state_dict(own)
        except Exception as error:
            raise InputError(
                f"VGG-19's ImageNet weights could not be loaded ({reason_of(error)}); fetch "
                f"{IMAGENET_URL} and put it at {place}, or set the trunk's weights to 'hed' (a "
                "VGG-16 that needs no download), 'random' or a file"
            ) from error

    def _load_file(self, path: Path) -> None:
        state = read_weights(
            path,
            "name another file in trunk_weights, saved with safetensors.torch.save_file",
            f"trunk weights {path}: no such file; give 'imagenet', 'hed', 'random' or the path of "
            "a safetensors file",
        )
        own = self.state_dict()
        if not any(key.startswith("convs.conv3_4.") for key in state):
            identity = torch.empty_like(own["convs.conv3_4.weight"])
            state["convs.conv3_4.weight"] = nn.init.dirac_(identity)
            state["convs.conv3_4.bias"] = torch.zeros_like(own["convs.conv3_4.bias"])
        state = {key: value for key, value in state.items() if key in own}
        name = f"trunk weights {path}"
        mend = f"not of width {self.width}: set the trunk's width to the file's, or give another"
        load_state(self, state, name, mend)
