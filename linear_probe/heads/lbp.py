"""Local binary patterns of a batch, as pictures."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_POINTS, _RADIUS = 8, 1.0
_LUMA = (0.2125, 0.7154, 0.0721)  # ITU-R BT.709, as scikit-image's


def lbp_maps(images: Tensor) -> Tensor:
    """Codes / 255, float [B, 1, S, S] in [0, 1], of RGB pictures float [B, 3, S, S] in [0, 1].

    Bit k says whether the luma at the angle of k eighths of a turn, a pixel away and interpolated,
    is at least the pixel's own (Ojala et al., PAMI 2002); outside the picture it is 0. As
    scikit-image's `local_binary_pattern(P=8, R=1)`.
    """
    # In the whole steps of 8 bits, so that equal neighbours are equal.
    weights = images.new_tensor(_LUMA).view(3, 1, 1)
    luma = (255 * (images.float() * weights).sum(1, keepdim=True)).round()
    kernels = torch.zeros(_POINTS, 1, 3, 3, dtype=torch.float64, device=images.device)
    for k in range(_POINTS):
        y = round(-_RADIUS * math.sin(2 * math.pi * k / _POINTS), 5)
        x = round(_RADIUS * math.cos(2 * math.pi * k / _POINTS), 5)
        top, left = math.floor(y), math.floor(x)
        down, right = y - top, x - left
        for row, weight_y in ((top, 1 - down), (top + 1, down)):
            for column, weight_x in ((left, 1 - right), (left + 1, right)):
                if weight_y * weight_x:
                    kernels[k, 0, row + 1, column + 1] += weight_y * weight_x
    # A product, and no convolution, for which some runtimes have no doubles.
    around = kernels.flatten(1) @ F.unfold(luma.double(), 3, padding=1)
    around = around.unflatten(2, luma.shape[2:])
    bits = (around - luma >= -1e-9).float()
    powers = (2.0 ** torch.arange(_POINTS, device=images.device)).view(1, -1, 1, 1)
    return (bits * powers).sum(1, keepdim=True) / (2**_POINTS - 1)
