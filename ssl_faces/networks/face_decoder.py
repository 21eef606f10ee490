"""A small decoder: an identity code to a neutral face, at the full size."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ssl_faces.networks.blocks import conv, init_facecycle, leaky


class FaceDecoder(nn.Module):
    """Code [B, code_dim] to a picture [B, 3, S, S] in [0, 1].

    From a map of S/16 by layers that double it; a picture side that is no multiple of 16 is cut
    from the next larger one.

    Args:
        code_dim: length of the code.
        size: S.
        width: channels of the last layer; the first has 8 times as many.
    """

    def __init__(self, code_dim: int, size: int, width: int = 16) -> None:
        super().__init__()
        self.size = size
        self.side = -(-size // 16)
        channels = [8 * width, 8 * width, 4 * width, 2 * width, width]
        self.first = nn.Linear(code_dim, channels[0] * self.side**2)
        layers: list[nn.Module] = [leaky()]
        for inputs, outputs in pairwise(channels):
            layers += [nn.Upsample(scale_factor=2), conv(inputs, outputs), leaky()]
        self.layers = nn.Sequential(*layers, conv(width, 3))
        self.apply(init_facecycle)
        nn.init.normal_(self.first.weight, 0.0, 0.05)

    def forward(self, code: Tensor) -> Tensor:
        x = self.first(code).unflatten(1, (-1, self.side, self.side))
        x = x.contiguous(memory_format=torch.channels_last)
        return torch.sigmoid(self.layers(x).float())[..., : self.size, : self.size]
