"""How much two codes say the same: the squared correlation of their numbers."""

from __future__ import annotations

from torch import Tensor, nn


class CrossCorrelationLoss(nn.Module):
    """Mean squared correlation between each number of one code and each of the other, over a batch.

    0 where no number of the one says anything, linearly, of a number of the other; 1 where all are
    the same up to sign and scale. Of independent codes of a batch of n it is about 1/n. The blocks
    between two codes of Barlow Twins' cross-correlation matrix (Zbontar et al., ICML 2021, equation
    2), all of which are to be 0 here.

    Args:
        eps: added to variances, so that a code that is the same for all has no correlation.
    """

    def __init__(self, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """A scalar of codes float [n, D] and [n, E]."""
        return (self._standardised(a).T @ self._standardised(b) / len(a)).square().mean()

    def _standardised(self, code: Tensor) -> Tensor:
        code = code.float()
        variance, mean = code.var(0, correction=0), code.mean(0)
        return (code - mean) / (variance + self.eps).sqrt()
