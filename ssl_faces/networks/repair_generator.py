"""A generator that warps the image itself and repairs it by what it paints on top."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ssl_faces.networks.blocks import ResidualBlock, conv
from ssl_faces.networks.warp import resize_flow, warp

IMAGE = "image"
"""Name of the source image among the generator's maps."""


def doubled(inputs: int, outputs: int) -> nn.Sequential:
    """Bilinear enlargement by 2 and two convolutions: transposed ones leave a grid in images."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        *(conv(inputs, outputs), nn.ReLU(True), conv(outputs, outputs), nn.ReLU(True)),
    )


def faint(inputs: int, channels: int = 3) -> nn.Conv2d:
    """The convolution whose output is added to an image: next to nothing at first."""
    layer = conv(inputs, channels)
    nn.init.normal_(layer.weight, 0.0, 1e-3)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


class RepairGenerator(nn.Module):
    """Trunk maps of an image, the image and a flow to the moved face [B, 3, 4·h, 4·w] (normalised).

    Not the paper's `Generator`, which paints every face anew from warped maps. Here the result is
    the warped image plus what is painted from the warped maps and the flow; before training, that
    is next to nothing. It is grey: colours come from the image, where three painted channels left
    tints on photographs. There is no noise.

    Args:
        width: channels of the residual blocks; half as many after each doubling of the size.
        blocks: residual blocks.
        trunk_width: width of the `VggTrunk` whose maps come in.
    """

    def __init__(self, width: int = 256, blocks: int = 8, trunk_width: int = 64) -> None:
        super().__init__()
        half, fine, coarse = width // 2, 2 * trunk_width, 4 * trunk_width
        self.body = nn.Sequential(
            conv(coarse + 2, width), nn.ReLU(True), *(ResidualBlock(width) for _ in range(blocks))
        )
        self.to_half = doubled(width, half)
        self.to_full = doubled(half + fine, half)
        self.to_grey = faint(half, 1)

    def forward(self, maps: Mapping[str, Tensor], flow: Tensor | None = None) -> Tensor:
        """Render a face.

        Args:
            maps: relu2_1 and relu3_1 of the source image, and the image itself as `IMAGE`.
            flow: [B, 2, 16, 16]; None leaves the source in its place.
        """
        fine, coarse, image = maps["relu2_1"], maps["relu3_1"], maps[IMAGE]
        seen = coarse.new_zeros(len(coarse), 2, *coarse.shape[-2:])
        if flow is not None:
            # In pixels, about.
            seen = (10 * resize_flow(flow, (coarse.shape[-2], coarse.shape[-1]))).to(coarse.dtype)
            fine, coarse = (warp(x, flow, padding="border").to(x.dtype) for x in (fine, coarse))
            image = warp(image, flow, padding="border")
        half = self.to_half(self.body(torch.cat((coarse, seen), 1)))
        painted = self.to_grey(self.to_full(torch.cat((fine, half), 1)))
        return cast(Tensor, image.float() + painted.float())
