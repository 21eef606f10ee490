"""InfoNCE between queries and keys of all devices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lightly.utils import dist
from torch import Tensor


def gathered(x: Tensor) -> Tensor:
    """Rows [n, D] of all devices [n · devices, D], with gradients.

    If each device computes the loss of all rows, DDP's mean of the gradients equals the gradient of
    one device with all rows.
    """
    return torch.cat(dist.gather(x)) if dist.world_size() > 1 else x


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of finding each query's key among the keys of all devices.

    Multiplied by twice the temperature as in MoCo v3 (Chen, Xie, He 2021), algorithm 1: gradients
    depend less on the temperature.

    Args:
        queries, keys: [n, D] in the same order; L2-normalised here.
        temperature: of the softmax over cosines.
    """
    queries, keys = F.normalize(queries, dim=1), F.normalize(gathered(keys), dim=1)
    own = torch.arange(len(queries), device=queries.device) + len(queries) * dist.rank()
    return 2 * temperature * F.cross_entropy(queries @ keys.T / temperature, own)
