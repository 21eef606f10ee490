"""Squared correlation between two codes."""

from __future__ import annotations

from torch import Tensor, nn


class CrossCorrelationLoss(nn.Module):
    """Mean squared correlation between all pairs of dimensions of two codes, over a batch.

    From 0 (uncorrelated) to 1 (equal up to sign and scale); about 1/n for independent codes in a
    batch of n. The entries of Barlow Twins' cross-correlation matrix (Zbontar et al., ICML 2021,
    equation 2), which should all be 0 here.

    Args:
        eps: added to variances; constant codes have no correlation.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """The loss, a scalar, of codes float [n, D] and [n, E]."""
        return (self._standardised(a).T @ self._standardised(b) / len(a)).square().mean()

    def _standardised(self, code: Tensor) -> Tensor:
        code = code.float()
        variance, mean = code.var(0, correction=0), code.mean(0)
        return (code - mean) / (variance + self.eps).sqrt()
