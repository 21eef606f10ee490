"""Detect collapsed features by effective rank and standard deviation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS = 1024
"""Largest number of images to measure: the cost of the rank grows with its cube."""

LEAST_STD = 0.01
"""Smallest sound standard deviation of L2-normalised features times sqrt(D): 1 for uniform
directions, 0 for one vector. Untrained networks (FaceCycle's, ResNet-18 and 50, ViT-tiny; seeds 0
and 1; FER-2013, YouTube keypoints and rendered faces) have 0.13 to 0.71."""

LEAST_RANK = 3.0
"""Smallest sound effective rank of centred features with 16 or more dimensions. The same untrained
networks have 44 to 247 (not centred 18 to 110). See `least_rank` for fewer dimensions."""


def effective_rank(features: Tensor) -> float:
    """RankMe of features [N, D]: exp of the entropy of their normalised singular values.

    From 1 (all on a line through the origin) to min(N, D); 0 if all features are 0.

    Source: Garrido et al., "RankMe", ICML 2023, equations 1 and 2 (there with N = 25,600).
    """
    features = features.double()
    # The smaller Gram matrix has the squared singular values, and is much cheaper.
    gram = features @ features.T if len(features) < features.shape[1] else features.T @ features
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if not singular.max() > 0:
        return 0.0
    # Smaller values are rounding errors of a Gram matrix in float64.
    return _exp_entropy(torch.where(singular > 1e-7 * singular.max(), singular, 0))


def lidar(features: Tensor, delta: float = 1e-4) -> float:
    """LiDAR of features [n, q, D] of q views each of n images: the effective rank of what differs
    between images, in units of what differs between the views of one.

    With the means m_i of each image's views and m of all, S_b = E[(m_i - m)(m_i - m)^T] and
    S_w = E[(x - m_i)(x - m_i)^T] + delta I, it is exp of the entropy of the normalised eigenvalues
    of S_w^-1/2 S_b S_w^-1/2. From 1 to min(n - 1, D); 0 if the means are equal. RankMe counts
    directions of noise too; LiDAR does not.

    Source: Thilak et al., "LiDAR: Sensing Linear Probing Performance in Joint Embedding SSL
    Architectures", ICLR 2024, section 4 (there with n = 1,000 and q = 50).
    """
    features = features.double()
    means = features.mean(1)
    within = (features - means[:, None]).flatten(0, 1)
    covariance = within.T @ within / len(within) + delta * torch.eye(within.shape[1]).to(within)
    between = (means - means.mean(0)) / math.sqrt(len(means))
    # The n x n matrix has the same eigenvalues other than 0.
    root = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(root, between.T, upper=False)
    eigenvalues = torch.linalg.eigvalsh(whitened.T @ whitened).clamp(min=0)
    return _exp_entropy(eigenvalues) if eigenvalues.max() > 1e-12 else 0.0


def _exp_entropy(values: Tensor) -> float:
    """Exp of the entropy of values [N] from 0, normalised to a sum of 1."""
    share = values / values.sum() + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))


def spread(features: Tensor) -> float:
    """lightly's `std_of_l2_normalized` of features [N, D] times sqrt(D): about 1 for uniform
    directions, 0 for equal vectors.

    Source: Chen & He, "Exploring Simple Siamese Representation Learning", CVPR 2021, section 4.1.
    """
    from lightly.utils.debug import std_of_l2_normalized

    return float(std_of_l2_normalized(features.float())) * math.sqrt(features.shape[1])


def least_rank(count: int, dims: int) -> float:
    """Smallest sound effective rank of `count` features of `dims` dimensions."""
    return 1 + (LEAST_RANK - 1) * min(count, dims, 16) / 16


class CollapseWatch:
    """Measures feature spaces, and warns once about each collapsed one.

    Attributes:
        warned: the spaces with a warning so far.
    """

    def __init__(self) -> None:
        self.warned: list[str] = []

    def measure(self, space: str, features: Tensor) -> tuple[dict[str, float], str | None]:
        """`rank` and `std` of features [N, D] (of at most `ROWS`), and a warning or None.

        Features that are not finite have neither and count as collapsed.
        """
        features = features[:: math.ceil(len(features) / ROWS)]
        measures: dict[str, float] = {}
        why = "they are not finite"
        if bool(features.isfinite().all()):
            measures = {"rank": effective_rank(features), "std": spread(features)}
            why = _why(measures["std"], features)
        if not why or space in self.warned:
            return measures, None
        self.warned.append(space)
        return measures, f"the features '{space}' have collapsed: {why}"


def _why(std: float, features: Tensor) -> str:
    count, dims = features.shape
    if dims < 2 or count < 2:
        return ""  # undefined for one dimension or one image
    if std < LEAST_STD:
        return (
            f"all images have nearly the same vector (standard deviation {std:.2g}; at least "
            f"{LEAST_STD} is sound, 1 is the largest)"
        )
    rank, least = effective_rank(features - features.mean(0)), least_rank(count - 1, dims)
    if rank < least:
        return (
            f"they vary almost in one direction only (effective rank around their mean {rank:.2f} "
            f"of {dims}; at least {least:.3g} is sound)"
        )
    return ""
