"""FaceCycle's generator: renders a face from trunk maps warped by a flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ssl_faces.networks.blocks import ResidualBlock, conv, double_size
from ssl_faces.networks.trunk import Layer
from ssl_faces.networks.warp import warp

GENERATOR_LAYERS: tuple[Layer, ...] = ("relu2_1", "relu3_1")


class MapNoise(nn.Module):
    """Two convolutions of (normal noise + the map's global average): [B, C, H, W] to the same.

    Attributes:
        shared: use the same noise for all images of a batch, so that results don't depend on the
            position in the batch.
    """

    def __init__(self, channels: int, noise_std: float) -> None:
        super().__init__()
        self.noise_std = noise_std
        self.shared = False
        self.layers = nn.Sequential(
            conv(channels, channels), nn.ReLU(True), conv(channels, channels), nn.ReLU(True)
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True).expand_as(x)
        if self.noise_std:
            # Contiguous float32: other layouts and bf16 are 7 times slower on CPUs.
            shape = x[:1].shape if self.shared else x.shape
            noise = torch.randn(shape, device=x.device).to(x.dtype)
            mean = mean + self.noise_std * noise
        return cast(Tensor, self.layers(mean))


class Generator(nn.Module):
    """Trunk maps of an image and a flow to the moved face [B, 3, 4·h, 4·w] (normalised).

    13.41 M parameters at the paper's width, with the trunk up to conv3_1 (FaceCycle, ICCV 2021).

    Args:
        width: channels of the residual blocks; half as many after each doubling of the size.
        blocks: residual blocks.
        trunk_width: width of the `VggTrunk`.
        noise_std: standard deviation of the noise added to warped maps; 0 is deterministic.
    """

    def __init__(
        self, width: int = 256, blocks: int = 8, trunk_width: int = 64, noise_std: float = 1.0
    ) -> None:
        super().__init__()
        half, fine, coarse = width // 2, 2 * trunk_width, 4 * trunk_width
        self.body = nn.Sequential(
            conv(coarse, width), nn.ReLU(True), *(ResidualBlock(width) for _ in range(blocks))
        )
        self.to_half = nn.Sequential(
            double_size(width, half), nn.ReLU(True), conv(half, half), nn.ReLU(True)
        )
        self.to_full = nn.Sequential(
            double_size(half + fine, half), nn.ReLU(True), conv(half, half), nn.ReLU(True)
        )
        self.to_rgb = conv(half, 3)
        self.fine_noise = MapNoise(fine, noise_std)
        self.coarse_noise = MapNoise(coarse, noise_std)

    def share_noise(self, shared: bool) -> None:
        """Whether all images of a batch get the same noise."""
        self.fine_noise.shared = self.coarse_noise.shared = shared

    def forward(self, maps: Mapping[str, Tensor], flow: Tensor | None = None) -> Tensor:
        """Render a face.

        Args:
            maps: relu2_1 and relu3_1 of the source image.
            flow: [B, 2, 16, 16]; None to reconstruct the source.
        """
        fine, coarse = maps["relu2_1"], maps["relu3_1"]
        if flow is not None:
            fine = self._moved(fine, flow, self.fine_noise)
            coarse = self._moved(coarse, flow, self.coarse_noise)
        half = self.to_half(self.body(coarse))
        return cast(Tensor, self.to_rgb(self.to_full(torch.cat((fine, half), 1))))

    @staticmethod
    def _moved(x: Tensor, flow: Tensor, noise: MapNoise) -> Tensor:
        return warp(x, flow).to(x.dtype) + noise(x)
