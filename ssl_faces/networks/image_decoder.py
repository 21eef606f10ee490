"""A decoder from features to images, without skip connections."""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.networks.blocks import conv, init_facecycle, leaky


class ImageDecoder(nn.Module):
    """Features [B, feature_dim] to normalised images [B, 3, size, size].

    A linear layer makes the smallest map. Each next stage doubles it (bilinear) and applies a 3x3
    convolution. Any size from 16 is supported: sides are halved and rounded up.

    Args:
        feature_dim: length of the features.
        size: side of the images.
        width: channels of the largest map; doubled for each smaller one, up to 8 times.
    """

    def __init__(self, feature_dim: int, size: int, width: int = 32) -> None:
        super().__init__()
        sides = [size]
        while sides[0] > 4:
            sides.insert(0, math.ceil(sides[0] / 2))
        channels = [width * min(8, 2**i) for i in reversed(range(len(sides)))]
        self.sides = sides
        self.first = nn.Linear(feature_dim, channels[0] * sides[0] ** 2)
        self.convs = nn.ModuleList(
            conv(before, after) for before, after in itertools.pairwise(channels)
        )
        self.activation = leaky()
        self.last = conv(width, 3)
        self.apply(init_facecycle)
        # torch's default: with FaceCycle's N(0, 0.01) images stay grey for long.
        self.first.reset_parameters()

    def forward(self, features: Tensor) -> Tensor:
        side = self.sides[0]
        x = self.activation(self.first(features)).unflatten(1, (-1, side, side))
        for side, layer in zip(self.sides[1:], self.convs, strict=True):
            x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
            x = self.activation(layer(x))
        return cast(Tensor, self.last(x).float())
