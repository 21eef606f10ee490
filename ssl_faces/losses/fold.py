"""A penalty for flows that fold the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FoldLoss(nn.Module):
    """Mean shortfall of the distances between neighbours below `least`.

    Distances are those of the sampled positions: in x for neighbours in a row, in y for neighbours
    in a column, in units of the grid spacing (1 without a flow, negative in a fold).

    Not in FaceCycle's paper. Showing one half of a face twice, mirrored, also makes a symmetric
    face: a fold that is equal for all faces, which short runs with high learning rates learn.
    FaceCycle's inverse only holds for smooth flows, so nothing is lost without folds.

    Args:
        least: smallest distance without a penalty, 0 to 1.
    """

    def __init__(self, least: float = 0.25) -> None:
        super().__init__()
        self.least = least

    def forward(self, flow: Tensor) -> Tensor:
        """The loss, a scalar from 0, of flows [B, 2, h, w] in normalised grid units."""
        flow = flow.float()
        height, width = flow.shape[-2:]
        across = 1 + flow[:, 0].diff(dim=2) * (width - 1) / 2
        down = 1 + flow[:, 1].diff(dim=1) * (height - 1) / 2
        return F.relu(self.least - torch.cat((across.flatten(), down.flatten()))).mean()
