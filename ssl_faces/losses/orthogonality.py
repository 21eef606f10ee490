"""Orthogonality of two features of the same faces over a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class OrthogonalityLoss(nn.Module):
    """‖Aᵀ·B‖² / b² of two features [b, D] and [b, E]: 0 where no direction of one follows any of
    the other over the batch, 1 where both are the same single direction.

    Columns are centred, then rows brought to length 1, as PCL does (CVPR 2023, authors' code, after
    Bousmalis et al. 2016). Theirs is the mean over the D·E products, b²/(D·E) times this one:
    hardly anything for codes of 2048, and another weight for each batch size and length. And theirs
    takes the length for a constant, so that features also shrink. Computed as Σ (A·Aᵀ)∘(B·Bᵀ),
    which is the same and b x b instead of D x E large.
    """

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The loss, float32 in [0, 1]."""
        first, second = (
            F.normalize(t.float() - t.float().mean(0, keepdim=True), dim=1) for t in (first, second)
        )
        return ((first @ first.T) * (second @ second.T)).sum() / len(first) ** 2
