"""FaceCycle's face encoder: picture to last conv map and code (motion and identity alike)."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from ssl_faces.networks.blocks import ChannelAttention, ResidualBlock, conv, init_facecycle, leaky
from ssl_faces.networks.standardiser import BatchNorm, BatchStandardiser

Design = Literal["paper", "repair"]


class MotionEncoder(nn.Module):
    """[B, 3, S, S] (ImageNet-normalised) to the conv map and the code.

    The map is [B, 2·width, ⌈S/16⌉, ⌈S/16⌉]: 4x4 of 64x64 pictures, 7x7 of 100x100.

    4.24 M parameters at the paper's width of 64 and 64x64 pictures. The identity encoder has the
    same architecture and its own weights (FaceCycle, ICCV 2021).

    Args:
        width: channels of the first layers; the later ones have 2 and 4 times as many.
        code_dim: length of the code.
        input_size: side of the pictures.
        linear_std: standard deviation of the linear layers' first weights.
        design: `paper` ends in a tanh. `repair` has a quarter of the arithmetic and batch
            normalisation: the basic blocks of ResNets (He et al., CVPR 2016), with `width` / 2,
            `width`, 2 and 2 times `width` channels. Its code is standardised over faces
            (`BatchStandardiser`). Without batch normalisation nothing limits the weights of a
            standardised code, and they grow until the code is of rank 1.
    """

    def __init__(
        self,
        width: int = 64,
        code_dim: int = 256,
        input_size: int = 64,
        linear_std: float = 0.01,
        design: Design = "paper",
    ) -> None:
        super().__init__()
        self.convs = paper_convs(width) if design == "paper" else residual_convs(width)
        self.map_dim = 2 * width * math.ceil(input_size / 16) ** 2
        self.code_dim = code_dim
        end: tuple[nn.Module, ...]
        if design == "paper":
            end = (leaky(), nn.Linear(512, code_dim), nn.Tanh())
        else:
            linear = nn.Linear(512, code_dim)
            end = (BatchNorm(512), leaky(), linear, BatchStandardiser(code_dim))
        self.code = nn.Sequential(nn.Linear(self.map_dim, 512), *end)
        self.apply(init_facecycle)
        for module in self.code:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, linear_std)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Conv map [B, 2·width, S/16, S/16] and code [B, code_dim]."""
        conv_map = self.convs(x)
        return conv_map, self.code(conv_map.flatten(1))


def paper_convs(width: int) -> nn.Sequential:
    """The convolutions of the paper's encoder."""
    w, w2, w4 = width, 2 * width, 4 * width
    return nn.Sequential(
        *(conv(3, w, 7, 2), leaky(), conv(w, w), leaky()),
        *(conv(w, w), leaky(), ChannelAttention(w), conv(w, w), leaky()),
        *(conv(w, w2, 3, 2), leaky(), ChannelAttention(w2), conv(w2, w2), leaky()),
        *(ResidualBlock(w2), ResidualBlock(w2)),
        *(conv(w2, w2, 3, 2), leaky(), conv(w2, w2), leaky()),
        *(conv(w2, w4, 3, 2), leaky(), conv(w4, w4), leaky()),
        *(conv(w4, w4), leaky(), conv(w4, w2), leaky()),
    )


def residual_convs(width: int) -> nn.Sequential:
    """Residual, batch-normalised convolutions with the strides and the map of the paper's."""
    half, double = max(1, width // 2), 2 * width
    shapes = [
        *((half, half, 1), (half, width, 2), (width, width, 1)),
        *((width, double, 2), (double, double, 1), (double, double, 2)),
    ]
    blocks = []
    for inputs, outputs, stride in shapes:
        shortcut = None
        if stride > 1:
            shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), BatchNorm(outputs)
            )
        blocks.append(BasicBlock(inputs, outputs, stride, shortcut, norm_layer=BatchNorm))
    first = nn.Conv2d(3, half, 5, 2, 2, bias=False)
    return nn.Sequential(first, BatchNorm(half), nn.ReLU(True), *blocks)
