"""InfoNCE between queries and keys, and the rows of all devices that such losses need."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lightly.utils import dist
from torch import Tensor


def gathered(x: Tensor) -> Tensor:
    """Rows [n, D] of every device as one [n · devices, D], with their gradients.

    Where each device computes the whole loss of them, DDP's mean of the gradients is the gradient
    of one device that has all rows.
    """
    return torch.cat(dist.gather(x)) if dist.world_size() > 1 else x


def info_nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of telling each query's own key among the keys of all devices.

    MoCo v3 (Chen, Xie, He 2021), algorithm 1: times twice the temperature, so that the gradient's
    size depends less on it.

    Args:
        queries, keys: [n, D]; the keys in the order of their queries. Their lengths don't matter.
        temperature: of the softmax over cosines.
    """
    queries, keys = F.normalize(queries, dim=1), F.normalize(gathered(keys), dim=1)
    own = torch.arange(len(queries), device=queries.device) + len(queries) * dist.rank()
    return 2 * temperature * F.cross_entropy(queries @ keys.T / temperature, own)
