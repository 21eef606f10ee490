"""A generator that warps the image itself and repairs what warps leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ssl_faces.networks.blocks import ResidualBlock, conv
from ssl_faces.networks.warp import resize_flow, warp

IMAGE = "image"
"""Name of the source image among the generator's maps."""

_SHIFT = 0.1
"""Grid units (2 is the side) of the generator's own flows at an output of 1."""


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

    Not the paper's `Generator`, which paints every face anew from warped maps. Here colours come
    from the image: the result is the warped image, finely warped once more, plus what is painted
    in grey. Three painted channels left tints on photographs. Before training both are next to
    nothing. There is no noise.

    Args:
        width: channels of the residual blocks; half as many after each doubling of the size.
        blocks: residual blocks.
        trunk_width: width of the `VggTrunk` whose maps come in.
    """

    def __init__(self, width: int = 256, blocks: int = 8, trunk_width: int = 64) -> None:
        super().__init__()
        half, fine, coarse = width // 2, 2 * trunk_width, 4 * trunk_width
        self.body = nn.Sequential(
            *(conv(2 * coarse + 2, width), nn.ReLU(True)),
            *(ResidualBlock(width) for _ in range(blocks)),
        )
        self.to_half = doubled(width, half)
        self.to_full = doubled(half + fine, half)
        self.repairs = faint(half, 3)

    def forward(self, maps: Mapping[str, Tensor], flow: Tensor | None = None) -> Tensor:
        """Render a face.

        Args:
            maps: relu2_1 and relu3_1 of the source image, and the image itself as `IMAGE`.
            flow: [B, 2, 16, 16]; None leaves the source in its place.
        """
        fine, coarse, image = maps["relu2_1"], maps["relu3_1"], maps[IMAGE].float()
        if flow is None:
            flow = coarse.new_zeros(len(coarse), 2, 16, 16)
        fine, coarse = (warp(x, flow, padding="border").to(x.dtype) for x in (fine, coarse))
        # In pixels, about.
        seen = (10 * resize_flow(flow, (coarse.shape[-2], coarse.shape[-1]))).to(coarse.dtype)
        half = self.to_half(self.body(torch.cat((coarse, coarse.flip(-1), seen), 1)))
        repairs = self.repairs(self.to_full(torch.cat((fine, half), 1))).float()
        grey, shift = repairs.split((1, 2), 1)
        size = (image.shape[-2], image.shape[-1])
        moved = warp(image, resize_flow(flow.float(), size) + _SHIFT * shift, padding="border")
        return moved + grey
