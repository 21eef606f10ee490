"""Histograms of oriented gradients of a batch."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HOG(nn.Module):
    """Histograms of oriented gradients, one for each cell (Dalal & Triggs, CVPR 2005).

    Computed on the luma with central differences and unsigned orientations; each pixel's magnitude
    is split between the two nearest bins. Each cell is L2-normalised, as in MaskFeat (Wei et al.,
    CVPR 2022), which uses HOG as a target of self-supervised learning.

    Args:
        cell: side of the cells in pixels; incomplete cells are ignored.
        bins: orientations from 0 to 180 degrees.
    """

    def __init__(self, cell: int = 8, bins: int = 9) -> None:
        super().__init__()
        self.cell, self.bins = cell, bins

    def length(self, side: int) -> int:
        """Length of the descriptor of an image of this side."""
        return self.bins * (side // self.cell) ** 2

    def forward(self, images: Tensor) -> Tensor:
        """Descriptors float32 [B, bins * rows * columns], bin first, of RGB [B, 3, S, S]."""
        r, g, b = images.float().unbind(1)
        x = F.pad((0.299 * r + 0.587 * g + 0.114 * b)[:, None], (1, 1, 1, 1), "replicate")
        across = x[:, :, 1:-1, 2:] - x[:, :, 1:-1, :-2]
        down = x[:, :, 2:, 1:-1] - x[:, :, :-2, 1:-1]
        magnitude = (across.square() + down.square()).sqrt()
        place = torch.atan2(down, across) % math.pi * (self.bins / math.pi)
        low = place.floor()
        share = place - low
        low = low.long() % self.bins  # an angle just below 0 rounds up to the whole half circle
        shape = (len(x), self.bins, *place.shape[-2:])
        filled = x.new_zeros(shape).scatter(1, low, magnitude * (1 - share))
        filled = filled.scatter_add(1, (low + 1) % self.bins, magnitude * share)
        return F.normalize(F.avg_pool2d(filled, self.cell), dim=1).flatten(1)
