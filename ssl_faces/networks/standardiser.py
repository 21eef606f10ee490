"""Codes standardised over the batch, so that they can't be equal for all faces.

Statistics are over the batches of all devices, like those of `nn.SyncBatchNorm`, which needs GPUs.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def _devices() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_over_devices(x: Tensor) -> Tensor:
    """The mean of `x` [N, ...] over the batches of all devices, [1, ...], with gradients.

    All devices must have the same batch size.
    """
    mean = x.mean(0, keepdim=True)
    if _devices() > 1:
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


class BatchCentre(nn.Module):
    """Inputs [N, *shape] less their mean; float32.

    In training mode over the batches of all devices, otherwise with a running average.

    Args:
        shape: of one input.
        momentum: weight of the current batch in the running average.
    """

    mean: Tensor

    def __init__(self, *shape: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(1, *shape))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean
        if self.training:
            mean = mean_over_devices(x.float())
            with torch.no_grad():
                self.mean.lerp_(mean, self.momentum)
        return x.float() - mean


class BatchNorm(_BatchNorm):
    """`nn.BatchNorm1d` and `nn.BatchNorm2d`, over the batch of all devices while it trains.

    Every device must hold equally many images.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Images [N, C, H, W] and codes [N, C] both do."""

    def forward(self, x: Tensor) -> Tensor:
        devices = _devices()
        if not self.training or devices == 1:
            return super().forward(x)
        channels_last = x.float().movedim(1, -1)
        rows = channels_last.flatten(0, -2)
        mean = mean_over_devices(rows)
        variance = mean_over_devices((rows - mean).square())
        count = len(rows) * devices
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean[0], self.momentum)
            self.running_var.lerp_(variance[0] * count / (count - 1), self.momentum)
            self.num_batches_tracked += 1
        normalised = (rows - mean) / (variance + self.eps).sqrt() * self.weight + self.bias
        return normalised.view_as(channels_last).movedim(-1, 1).to(x.dtype)
