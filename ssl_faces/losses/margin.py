"""Mean absolute distance minus a margin."""

from __future__ import annotations

from torch import Tensor, nn


class MarginLoss(nn.Module):
    """mean(|mean face − neutral| − margin) over [B, C, H, W]; negative when closer than that.

    FaceCycle's margin term (ICCV 2021, stage 2; the reference does not clip it at zero).
    """

    def __init__(self, margin: float = 0.1) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, mean_face: Tensor, neutral: Tensor) -> Tensor:
        return ((mean_face - neutral).abs() - self.margin).mean()
