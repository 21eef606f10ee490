"""Strided 1x1 convolutions with few channels, without a bug of oneDNN."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

_BLOCK = 16
"""Channels in a block of oneDNN: 8 with AVX2, 16 with AVX-512."""


class StridedPointwise(nn.Conv2d):
    """A strided 1x1 `nn.Conv2d` that first slices, then multiplies.

    With fewer input channels than a block and channels-last maps, oneDNN writes out of bounds in
    the backward pass: gradients are wrong, or the process crashes
    (https://github.com/uxlfoundation/oneDNN/issues/6035).
    """

    def forward(self, input: Tensor) -> Tensor:
        down, right = self.stride
        return F.conv2d(input[:, :, ::down, ::right], self.weight, self.bias)


def without_small_strided(network: nn.Module) -> nn.Module:
    """Replace strided 1x1 convolutions with fewer than 16 channels, in place; the state dict is
    unchanged."""
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
                # Without initialisation, so that the random state is unchanged.
                new = nn.utils.skip_init(
                    StridedPointwise,
                    layer.in_channels,
                    layer.out_channels,
                    1,
                    (layer.stride[0], layer.stride[1]),
                    bias=layer.bias is not None,
                )
                new.load_state_dict(layer.state_dict())
                setattr(parent, name, new)
    return network
