"""Concordance as a loss, for values that are scored by it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_faces.losses.contrast import gathered


class ConcordanceLoss(nn.Module):
    """1 - CCC of values over the batch of all devices: 0 where all are as they should be, 1 where
    they have nothing to do with it, at most 2.

    CCC is 2 cov / (var + var + (difference of means)²), Lin, Biometrics 45(1), 1989, with moments
    over n. torchmetrics' has a slope too, but is NaN of values that are all the same.

    Args:
        eps: added to the denominator, so that values that are all one have a CCC of 0.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, said: Tensor, true: Tensor) -> Tensor:
        """A scalar of float [n] and [n]."""
        both = gathered(torch.stack((said.float(), true.float()), 1))
        mean_said, mean_true = both.mean(0)
        centred = both - both.mean(0)
        covariance = centred.prod(1).mean()
        variances = centred.square().mean(0).sum()
        return 1 - 2 * covariance / (variances + (mean_said - mean_true) ** 2 + self.eps)
