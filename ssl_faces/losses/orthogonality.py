"""Orthogonality of two features of the same faces over a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class OrthogonalityLoss(nn.Module):
    """‖Aᵀ·B‖² / b² of two features [b, D] and [b, E]: 0 if they are uncorrelated over the batch, 1
    if both vary in one common direction.

    Columns are centred, then rows L2-normalised, as in PCL (CVPR 2023, authors' code, after
    Bousmalis et al. 2016). PCL's mean over the D·E products is b²/(D·E) times this: almost 0 for
    codes of 2048, with a weight that depends on batch size and length. PCL also treats the norm as
    a constant, so that features shrink. Computed as Σ (A·Aᵀ)∘(B·Bᵀ), b x b instead of D x E.
    """

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss, float32 in [0, 1]."""
        first, second = (
            F.normalize(t.float() - t.float().mean(0, keepdim=True), dim=1) for t in (first, second)
        )
        return ((first @ first.T) * (second @ second.T)).sum() / len(first) ** 2
