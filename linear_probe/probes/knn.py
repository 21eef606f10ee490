"""k nearest neighbours on frozen features: nothing is fitted but a mean and a scale.

Neighbours vote by exp(cosine / temperature), as in Wu et al., "Unsupervised Feature Learning via
Non-Parametric Instance Discrimination", CVPR 2018; the vote is lightly's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightly.utils.benchmarking import knn_predict
from torch import Tensor

from linear_probe.probes.kinds import ClassProbe
from linear_probe.probes.linear import Standardiser

NEIGHBOURS = 200
TEMPERATURE = 0.1
_BATCH = 256


class KNN(ClassProbe):
    """`knn_classes` with its defaults."""

    name = "kNN"
    about = (
        f"{NEIGHBOURS} neighbours by cosine of standardised features, or as many as the smallest "
        "class has training images"
    )

    def chosen(self, targets: Tensor) -> dict[str, Any]:
        return {"neighbours": neighbours_of(targets)}

    def predict(self, train: Tensor, targets: Tensor, test: Tensor, device: str) -> Tensor:
        return knn_classes(train, targets, test, device=device)


def neighbours_of(targets: Tensor, most: int = NEIGHBOURS) -> int:
    """How many neighbours vote: `most`, or the rows of the smallest class if these are fewer: of
    more, most would be of other classes whatever the features."""
    counts = torch.bincount(targets)
    return min(most, int(counts[counts > 0].min()))


def knn_classes(
    train: Tensor,
    targets: Tensor,
    test: Tensor,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
    device: str = "cpu",
) -> Tensor:
    """The class that the nearest training rows vote for, for each test row: int64 [M], on the CPU.

    Args:
        train: float [N, D]; both are standardised by its statistics, then scaled to length 1.
        targets: int64 [N], classes from 0.
        test: float [M, D].
        neighbours: how many vote, at most as many as the smallest class has rows.
        temperature: the lower, the more the nearest count.
    """
    standardise = Standardiser.of(train)
    bank = F.normalize(standardise(train).to(device)).T.contiguous()
    labels = targets.to(device)
    classes, k = int(targets.max()) + 1, neighbours_of(targets, neighbours)
    votes = [
        knn_predict(
            F.normalize(standardise(rows).to(device)), bank, labels, classes, k, temperature
        )[:, 0].cpu()
        for rows in test.split(_BATCH)
    ]
    return torch.cat(votes)
