"""FaceCycle's feature re-normaliser: takes a person's identity out of a face, or puts it in."""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from ssl_faces.networks.blocks import ResidualBlock, conv, double_size
from ssl_faces.networks.motion_encoder import Design
from ssl_faces.networks.repair_generator import doubled, faint

Direction = Literal["deidentify", "reidentify"]


class FeatureNorm(nn.Module):
    """Instance norm without affine, times gamma(code) plus beta(code): [B, C, H, W] to same."""

    def __init__(self, channels: int, code_dim: int) -> None:
        super().__init__()
        self.beta = nn.Conv2d(code_dim, channels, 1)
        self.gamma = nn.Conv2d(code_dim, channels, 1)
        self.norm = nn.InstanceNorm2d(channels)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        code = code[..., None, None]
        return cast(Tensor, self.norm(x) * self.gamma(code) + self.beta(code))


class ReNormaliser(nn.Module):
    """relu3_1 of a face [B, 4·trunk_width, h, w] and an identity code to a face [B, 3, 4h, 4w].

    `deidentify` takes the identity out (its batch mean is the mean face), `reidentify` puts it
    in; all but the two `FeatureNorm`s is shared (FaceCycle, ICCV 2021).

    Args:
        width: channels of the residual blocks; half as many after the first doubling.
        blocks: residual blocks.
        trunk_width: width of the `VggTrunk` whose maps come in.
        code_dim: length of the identity code.
        design: `paper` gives faces. `repair` gives what is to be added to the face that comes in:
            next to nothing before training; without transposed convolutions.
    """

    def __init__(
        self,
        width: int = 256,
        blocks: int = 7,
        trunk_width: int = 64,
        code_dim: int = 256,
        design: Design = "paper",
    ) -> None:
        super().__init__()
        half = width // 2
        coarse = 4 * trunk_width
        self.deidentify = FeatureNorm(coarse, code_dim)
        self.reidentify = FeatureNorm(coarse, code_dim)
        enter: list[nn.Module] = [] if coarse == width else [conv(coarse, width), nn.ReLU(True)]
        to_rgb: tuple[nn.Module, ...] = (
            *(double_size(width, half), nn.ReLU(True), conv(half, half), nn.ReLU(True)),
            *(double_size(half, half), nn.ReLU(True), nn.Conv2d(half, 3, 1)),
        )
        if design == "repair":
            to_rgb = (doubled(width, half), doubled(half, half), faint(half))
        self.layers = nn.Sequential(*enter, *(ResidualBlock(width) for _ in range(blocks)), *to_rgb)

    def forward(self, coarse: Tensor, code: Tensor, direction: Direction) -> Tensor:
        norm = self.deidentify if direction == "deidentify" else self.reidentify
        return cast(Tensor, self.layers(norm(coarse, code)))
