"""The fold term: a flow should not turn the picture over on itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FoldLoss(nn.Module):
    """How far a flow squeezes neighbours together beyond a limit, or past each other.

    For neighbours in a row the distance in x between the places they look at, and for neighbours
    in a column that in y, in units of the grid's spacing (1 without a flow, negative in a fold).
    The loss is the mean shortfall of these distances below `least`.

    Not in the paper. A symmetric face can be had by showing one half twice, mirrored: a fold that
    is the same for all faces, which short runs with high learning rates fall into. FaceCycle's
    inverse flow holds for gentle flows only, so that nothing is lost by ruling folds out.

    Args:
        least: distance below which neighbours are too near, 0 to 1.
    """

    def __init__(self, least: float = 0.25) -> None:
        super().__init__()
        self.least = least

    def forward(self, flow: Tensor) -> Tensor:
        """The term, a scalar from 0, of flows [B, 2, h, w] in normalised grid units."""
        flow = flow.float()
        height, width = flow.shape[-2:]
        across = 1 + flow[:, 0].diff(dim=2) * (width - 1) / 2
        down = 1 + flow[:, 1].diff(dim=1) * (height - 1) / 2
        return F.relu(self.least - torch.cat((across.flatten(), down.flatten()))).mean()
