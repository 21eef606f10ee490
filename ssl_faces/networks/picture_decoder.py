"""A decoder from features to pictures, without skips: all that it shows, the features say."""

from __future__ import annotations

import itertools
import math
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.networks.blocks import conv, init_facecycle, leaky


class PictureDecoder(nn.Module):
    """Features [B, feature_dim] to normalised pictures [B, 3, size, size].

    A linear layer gives the smallest map; each next one is twice as large, bilinear, then a 3x3
    convolution. No side from 16 on is too odd for it: sides are halves of the picture's, rounded
    up.

    Args:
        feature_dim: length of the features.
        size: side of the pictures.
        width: channels of the largest map; each smaller one has twice as many, up to 8 times.
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
        # As torch has it: with FaceCycle's N(0, 0.01) all pictures begin grey and stay so long.
        self.first.reset_parameters()

    def forward(self, features: Tensor) -> Tensor:
        side = self.sides[0]
        x = self.activation(self.first(features)).unflatten(1, (-1, side, side))
        for side, layer in zip(self.sides[1:], self.convs, strict=True):
            x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
            x = self.activation(layer(x))
        return cast(Tensor, self.last(x).float())
