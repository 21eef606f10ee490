"""1x1 convolutions of few channels that leave out every other place."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_BLOCK = 16
"""Channels that oneDNN works on at once: 8 with AVX2, 16 with AVX-512."""


class StridedPointwise(nn.Conv2d):
    """`nn.Conv2d` of kernel 1, without padding: the places are taken first, then multiplied.

    For fewer input channels than it works on at once, oneDNN writes beyond its memory in the
    backward pass of such a convolution, where maps are channels-last
    (https://github.com/uxlfoundation/oneDNN/issues/6035): gradients are wrong, or the process dies.
    """

    def forward(self, input: Tensor) -> Tensor:
        down, right = self.stride
        return F.conv2d(input[:, :, ::down, ::right], self.weight, self.bias)


def without_small_strided(network: nn.Module) -> nn.Module:
    """The network, in place, with its strided 1x1 convolutions of fewer than 16 channels replaced;
    weights and their names stay."""
    for parent in [*network.modules()]:
        for name, layer in parent.named_children():
            if (
                type(layer) is nn.Conv2d
                and layer.kernel_size == (1, 1)
                and layer.padding == (0, 0)
                and layer.groups == 1
                and layer.stride != (1, 1)
                and layer.in_channels < _BLOCK
            ):
                # Without first weights of its own: what is drawn next stays the same.
                made = nn.utils.skip_init(
                    StridedPointwise,
                    layer.in_channels,
                    layer.out_channels,
                    1,
                    (layer.stride[0], layer.stride[1]),
                    bias=layer.bias is not None,
                )
                made.load_state_dict(layer.state_dict())
                setattr(parent, name, made)
    return network
