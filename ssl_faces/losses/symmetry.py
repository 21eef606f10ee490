"""Left-right symmetry of a face."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SymmetryLoss(nn.Module):
    """Mean |left half − mirrored right half| of [B, C, H, W]; 0 for mirror-symmetric images.

    In FaceCycle (ICCV 2021) it removes the pose from neutral faces.
    """

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return F.l1_loss(x[..., :half], x[..., -half:].flip(-1))
