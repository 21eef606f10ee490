"""Several vectors to one: their mean with weights that they are given by attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """Σ w_i x_i of vectors [B, n, D], with weights w = softmax(v · tanh(W x_i + b)) over i.

    Additive attention with a learnt query v (Yang et al., NAACL 2016, equations 5 to 7; Lin et al.,
    ICLR 2017, equations 5 and 6, with one row). Weights are equal at first, so that what learns
    before they do is the plain mean.

    Args:
        dim: D.
        hidden: length of v.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden)
        self.query = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.query.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D]."""
        return (self.weights(x)[:, :, None] * x).sum(1)

    def weights(self, x: Tensor) -> Tensor:
        """[B, n], each row adds up to 1."""
        found: Tensor = self.query(torch.tanh(self.hidden(x)))[:, :, 0].softmax(1)
        return found


class MeanPool(nn.Module):
    """The mean of vectors [B, n, D]: all weights equal."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, D]."""
        return x.mean(1)

    def weights(self, x: Tensor) -> Tensor:
        """[B, n], each 1 / n."""
        return x.new_full(x.shape[:2], 1 / x.shape[1])
