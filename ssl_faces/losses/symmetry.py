"""Left-right symmetry of a face, as an L1 distance."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SymmetryLoss(nn.Module):
    """Mean |left half − mirrored right half| of [B, C, H, W]; 0 for mirror-symmetric pictures.

    FaceCycle (ICCV 2021): neutral faces are pulled to be symmetric, which takes the pose out.
    """

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return F.l1_loss(x[..., :half], x[..., -half:].flip(-1))
