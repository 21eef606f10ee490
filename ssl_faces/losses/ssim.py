"""Structural dissimilarity with zero padding, as in FaceCycle's code."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn


@lru_cache(maxsize=16)
def _blur_matrix(size: int, window: int, sigma: float, device: torch.device) -> Tensor:
    """A banded matrix [size, size] that blurs a column with the Gaussian window, zero padding."""
    with torch.inference_mode(False):
        offsets = torch.arange(window, dtype=torch.float64, device=device) - window // 2
        weights = torch.exp(-(offsets**2) / (2 * sigma**2))
        weights = weights / weights.sum()
        matrix = torch.zeros(size, size + window - 1, dtype=torch.float64, device=device)
        for row in range(size):
            matrix[row, row : row + window] = weights
        return matrix[:, window // 2 : window // 2 + size].float().contiguous()


class SSIMLoss(nn.Module):
    """1 − mean SSIM of k renderings [k, B, C, H, W] against one batch [B, C, H, W].

    Wang et al. 2004 with C1 = 0.01², C2 = 0.03² (for a value range of 1). kornia and torchmetrics
    use reflection padding, 5e-4 off FaceCycle's code with zero padding, and their convolution costs
    6 times as much as these two products with a banded matrix.

    Args:
        window: side of the Gaussian window.
        sigma: its standard deviation.
    """

    def __init__(self, window: int = 11, sigma: float = 1.5) -> None:
        super().__init__()
        self.window = window
        self.sigma = sigma

    def forward(self, renderings: Tensor, target: Tensor) -> Tensor:
        """Losses [k] of the renderings, in [0, 2]; 0 for equal images."""
        with torch.autocast(target.device.type, enabled=False):
            x, y = renderings.float(), target.float()
            # The moments of the target are blurred once for all renderings.
            mean_y, square_y = self._blur(torch.stack((y, y * y))).unbind()
            mean_x, square_x, product = self._blur(torch.stack((x, x * x, x * y))).unbind()
            mean_xy, mean_xx, mean_yy = mean_x * mean_y, mean_x * mean_x, mean_y * mean_y
            c1, c2 = 0.01**2, 0.03**2
            ssim = ((2 * mean_xy + c1) * (2 * (product - mean_xy) + c2)) / (
                (mean_xx + mean_yy + c1) * (square_x + square_y - mean_xx - mean_yy + c2)
            )
            return 1 - ssim.flatten(1).mean(1)

    def _blur(self, x: Tensor) -> Tensor:
        rows = _blur_matrix(x.shape[-2], self.window, self.sigma, x.device)
        columns = _blur_matrix(x.shape[-1], self.window, self.sigma, x.device)
        # One tall matrix product each: batched products are slower on CPUs.
        return ((x @ columns.T).transpose(-1, -2) @ rows.T).transpose(-1, -2)
