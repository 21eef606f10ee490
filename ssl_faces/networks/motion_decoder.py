"""FaceCycle's motion decoder: expression code to the flow that makes the face neutral."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_faces.networks.blocks import ChannelAttention, ResidualBlock, conv, init_facecycle, leaky


class MotionDecoder(nn.Module):
    """Code [B, code_dim] to flow [B, 2, 16, 16], x then y, in (-1, 1) normalised grid units.

    Flow 0 keeps the image; ±2 is a whole image side. 3.00 M parameters at the paper's width
    (FaceCycle, ICCV 2021).

    Args:
        width: channels of the last layer; 4 times as many in the first ones.
        code_dim: length of the code.
        outputs: channels of the result: 2 of the flow, and additional maps in (-1, 1).
    """

    def __init__(self, width: int = 64, code_dim: int = 256, outputs: int = 2) -> None:
        super().__init__()
        w, w2, w4 = width, 2 * width, 4 * width
        double = lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)  # noqa: E731
        self.layers = nn.Sequential(
            *(nn.Conv2d(code_dim, w4 * 16, 1), nn.PixelShuffle(4), leaky()),
            *(ChannelAttention(w4), conv(w4, w4), leaky(), double()),
            *(conv(w4, w2), leaky(), ChannelAttention(w2), conv(w2, w2), leaky()),
            *(ResidualBlock(w2), ResidualBlock(w2), double()),
            *(conv(w2, w), leaky()),
        )
        self.flow = nn.Conv2d(w, outputs, 1, bias=False)
        self.apply(init_facecycle)
        nn.init.normal_(self.flow.weight, 0.0, 0.05)

    def forward(self, code: Tensor) -> Tensor:
        return torch.tanh(self.flow(self.layers(code[..., None, None])).float())
