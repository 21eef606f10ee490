"""Whether features have collapsed: effective rank and standard deviation, and when to warn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS = 1024
"""Most pictures that the measures are of: the rank's cost grows with their cube."""

LEAST_STD = 0.01
"""Of the features scaled to length 1, times the root of their number: 1 where they point every
way alike, 0 where all pictures give one vector. Untrained networks (FaceCycle's, ResNet-18 and 50,
ViT-tiny; seeds 0 and 1; FER-2013, YouTube keypoints and rendered faces) gave 0.13 to 0.71."""

LEAST_RANK = 3.0
"""Effective rank of features of 16 numbers or more less their mean, which in untrained networks is
most of them; the same networks gave 44 to 247 (with their mean 18 to 110). For features of fewer
numbers it falls in proportion, to 1 for none."""


def effective_rank(features: Tensor) -> float:
    """RankMe of features [N, D]: exp of the entropy of their singular values, scaled to sum 1.

    From 1 (all on one line through the origin) to min(N, D); 0 where all features are 0.

    Source: Garrido et al., "RankMe", ICML 2023, equations 1 and 2 (there with N = 25,600).
    """
    features = features.double()
    # The smaller Gram matrix has the squared singular values, and is much cheaper.
    gram = features @ features.T if len(features) < features.shape[1] else features.T @ features
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    if not singular.max() > 0:
        return 0.0
    # Of a Gram matrix in float64, values below this are rounding.
    singular = torch.where(singular > 1e-7 * singular.max(), singular, 0)
    share = singular / singular.sum() + 1e-7
    return float(torch.exp(-(share * share.log()).sum()))


def spread(features: Tensor) -> float:
    """lightly's `std_of_l2_normalized` of features [N, D] times sqrt(D): about 1 where they point
    every way alike, 0 where all are one.

    Source: Chen & He, "Exploring Simple Siamese Representation Learning", CVPR 2021, section 4.1.
    """
    from lightly.utils.debug import std_of_l2_normalized

    return float(std_of_l2_normalized(features.float())) * math.sqrt(features.shape[1])


def least_rank(count: int, dims: int) -> float:
    """The effective rank below which so many features of so many numbers have collapsed."""
    return 1 + (LEAST_RANK - 1) * min(count, dims, 16) / 16


class CollapseWatch:
    """Measures feature spaces, and says once of each that it has collapsed.

    Attributes:
        told: the spaces that it has said so of.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def measure(self, space: str, features: Tensor) -> tuple[dict[str, float], str | None]:
        """`rank` and `std` of features [N, D] (of `ROWS` of them), and the warning, if one is due.

        Features that are not finite have neither and count as collapsed.
        """
        features = features[:: math.ceil(len(features) / ROWS)]
        found: dict[str, float] = {}
        why = "they are not finite"
        if bool(features.isfinite().all()):
            found = {"rank": effective_rank(features), "std": spread(features)}
            why = _why(found["std"], features)
        if not why or space in self.told:
            return found, None
        self.told.append(space)
        return found, f"the features '{space}' have collapsed: {why}"


def _why(std: float, features: Tensor) -> str:
    count, dims = features.shape
    if dims < 2 or count < 2:
        return ""  # one number has no direction, and one picture no deviation
    if std < LEAST_STD:
        return (
            f"all pictures give nearly the same vector (standard deviation {std:.2g}, where "
            f"{LEAST_STD} is the least that is sound, and 1 the most)"
        )
    rank, least = effective_rank(features - features.mean(0)), least_rank(count - 1, dims)
    if rank < least:
        return (
            f"they vary in next to one direction (effective rank about their mean {rank:.2f} of "
            f"{dims}, where {least:.3g} is the least that is sound)"
        )
    return ""
