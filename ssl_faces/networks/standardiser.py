"""Standardise codes over the batch, so that they can't be equal for all faces."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


def mean_over_devices(x: Tensor) -> Tensor:
    """The mean of `x` [N, ...] over the batches of all devices, [1, ...], with gradients.

    All devices must have the same batch size.
    """
    mean = x.mean(0, keepdim=True)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        import torch.distributed.nn.functional as differentiable

        mean = differentiable.all_reduce(mean) / dist.get_world_size()
    return mean


class BatchStandardiser(nn.Module):
    """Codes [N, D] with mean 0 and variance 1 in each dimension; float32.

    In training mode over the batches of all devices, otherwise with running averages. On one device
    equal to `nn.BatchNorm1d` without affine parameters; `nn.SyncBatchNorm` needs GPUs.

    Args:
        code_dim: D.
        momentum: weight of the current batch in the running averages.
        eps: added to variances.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, code_dim: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.register_buffer("mean", torch.zeros(1, code_dim))
        self.register_buffer("variance", torch.ones(1, code_dim))

    def forward(self, code: Tensor) -> Tensor:
        code = code.float()
        mean, variance = self.mean, self.variance
        if self.training:
            mean = mean_over_devices(code)
            variance = mean_over_devices((code - mean).square())
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
                self.variance.lerp_(variance, self.momentum)
        return (code - mean) / (variance + self.eps).sqrt()
