"""FaceCycle's face encoder: picture to last conv map and code (motion and identity alike)."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from ssl_faces.networks.blocks import ChannelAttention, ResidualBlock, conv, init_facecycle, leaky
from ssl_faces.networks.standardiser import BatchStandardiser

CodeEnd = Literal["tanh", "standardised"]


class MotionEncoder(nn.Module):
    """[B, 3, S, S] (ImageNet-normalised) to the conv map and the code.

    The map is [B, 2·width, ⌈S/16⌉, ⌈S/16⌉]: 4x4 of 64x64 pictures, 7x7 of 100x100.

    4.24 M parameters at the paper's width of 64 and 64x64 pictures. The identity encoder has the
    same architecture and its own weights (FaceCycle, ICCV 2021).

    Args:
        width: channels of the first layers; the later ones have 2 and 4 times as many.
        code_dim: length of the code.
        input_size: side of the pictures.
        linear_std: standard deviation of the linear layers' first weights. The paper's 0.01
            makes codes so small at first that short runs don't get far beyond a flow that is
            the same for all faces; long ones do.
        code_end: `tanh` (the paper's) keeps the code's values in (-1, 1); `standardised` gives each
            mean 0 and variance 1 over faces, see `BatchStandardiser`.
    """

    def __init__(
        self,
        width: int = 64,
        code_dim: int = 256,
        input_size: int = 64,
        linear_std: float = 0.01,
        code_end: CodeEnd = "tanh",
    ) -> None:
        super().__init__()
        w, w2, w4 = width, 2 * width, 4 * width
        self.convs = nn.Sequential(
            *(conv(3, w, 7, 2), leaky(), conv(w, w), leaky()),
            *(conv(w, w), leaky(), ChannelAttention(w), conv(w, w), leaky()),
            *(conv(w, w2, 3, 2), leaky(), ChannelAttention(w2), conv(w2, w2), leaky()),
            *(ResidualBlock(w2), ResidualBlock(w2)),
            *(conv(w2, w2, 3, 2), leaky(), conv(w2, w2), leaky()),
            *(conv(w2, w4, 3, 2), leaky(), conv(w4, w4), leaky()),
            *(conv(w4, w4), leaky(), conv(w4, w2), leaky()),
        )
        self.map_dim = w2 * math.ceil(input_size / 16) ** 2
        self.code_dim = code_dim
        self.code = nn.Sequential(
            nn.Linear(self.map_dim, 512),
            leaky(),
            nn.Linear(512, code_dim),
            nn.Tanh() if code_end == "tanh" else BatchStandardiser(code_dim),
        )
        self.apply(init_facecycle)
        for module in self.code:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, linear_std)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Conv map [B, 2·width, S/16, S/16] and code [B, code_dim]."""
        conv_map = self.convs(x)
        return conv_map, self.code(conv_map.flatten(1))
