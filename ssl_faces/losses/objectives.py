"""Objectives for equal embeddings of both images of a pair, by how they prevent collapse."""

from __future__ import annotations

from typing import Literal

from lightly.loss.lejepa_loss import SIGReg, lejepa_invariance_loss
from lightly.loss.vicreg_loss import covariance_loss, invariance_loss, variance_loss
from torch import Tensor, nn, stack

from ssl_faces.losses.contrast import gathered
from ssl_faces.losses.own_negatives import OwnNegativesLoss

Objective = Literal["contrast", "lejepa", "vicreg"]

_GAUSSIAN_WEIGHT = 0.05  # of SIGReg in LeJEPA
_DIRECTIONS = 256


class PairObjective(nn.Module):
    """Both images of a pair get equal embeddings.

    `contrast` is SimCLR's NT-Xent: embeddings of other pairs repel, unless they are of the same
    person. The others have no negatives: `vicreg` keeps variances up and covariances low (Bardes et
    al. 2022, weights 1, 1 and 1/25 here), `lejepa` makes embeddings an isotropic Gaussian (SIGReg
    of weight 0.05; Balestriero, LeCun 2025).

    Args:
        name: the objective.
        temperature: of `contrast`.
    """

    def __init__(self, name: Objective, temperature: float) -> None:
        super().__init__()
        self.name = name
        self.contrast = OwnNegativesLoss(temperature, other_faces=True)
        if name == "lejepa":
            self.sigreg = SIGReg(num_vectors=_DIRECTIONS, gather_distributed=True)

    def forward(self, first: Tensor, second: Tensor, people: Tensor | None = None) -> Tensor:
        """The loss of embeddings float32 [b, D] each; `people` as in `OwnNegativesLoss`."""
        if self.name == "contrast":
            return self.contrast(first, second, people=people)
        if self.name == "lejepa":
            z = stack((first, second))
            invariance = lejepa_invariance_loss(all_proj=z, global_proj=z)
            return (1 - _GAUSSIAN_WEIGHT) * invariance + _GAUSSIAN_WEIGHT * self.sigreg(z)
        invariance = invariance_loss(first, second)
        first, second = gathered(first), gathered(second)
        variance = (variance_loss(first) + variance_loss(second)) / 2
        return invariance + variance + (covariance_loss(first) + covariance_loss(second)) / 25
