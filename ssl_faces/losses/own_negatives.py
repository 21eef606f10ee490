"""InfoNCE with modified versions of the same face as negatives, optionally also other faces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from lightly.utils import dist
from torch import Tensor, nn

from ssl_faces.losses.contrast import gathered


class OwnNegativesLoss(nn.Module):
    """Two views of a face attract each other and repel the face's own negatives.

    For a view v, the other view w, and the own negatives N of the face (shared by both views):
    −log of exp(v·w/T) / (exp(v·w/T) + Σ_N exp(v·n/T) + Σ_O exp(v·o/T)), all L2-normalised. O is
    empty, or all views of other faces on all devices (van den Oord et al. 2018; without own
    negatives this is SimCLR's NT-Xent). Mean over all views.

    Args:
        temperature: T.
        other_faces: whether views of other faces are negatives too.
    """

    def __init__(self, temperature: float, other_faces: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.other_faces = other_faces

    def forward(
        self,
        first: Tensor,
        second: Tensor,
        negatives: Tensor | None = None,
        people: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """The loss, float32.

        Args:
            first, second: the two views [b, D] of b faces.
            negatives: of the same faces [b, m, D]; m may be 0. None: none.
            people: int64 [b], the faces' people; other faces of the same person are left out of O.
                -1: of an unknown person, as all are by default.
            valid: bool [b, m], which own negatives count; None: all.
        """
        first, second = F.normalize(first.float(), dim=-1), F.normalize(second.float(), dim=-1)
        views = torch.cat((first, second))
        parts = [(first * second).sum(-1).repeat(2)[:, None]]
        if negatives is not None:
            negatives = F.normalize(negatives.float(), dim=-1)
            own = torch.cat([(v[:, None] * negatives).sum(-1) for v in (first, second)])
            if valid is not None:
                own = own.masked_fill(~valid.repeat(2, 1), float("-inf"))
            parts.append(own)
        if self.other_faces:
            parts.append(self._others(views, people))
        logits = torch.cat(parts, 1) / self.temperature
        return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))

    def _others(self, views: Tensor, people: Tensor | None) -> Tensor:
        """Cosines [2b, 2B] with the views of all devices; -inf for views of the same face, and of
        other faces of the same person."""
        everyone = gathered(views)
        faces = torch.arange(len(everyone) // 2, device=views.device)
        if people is not None:
            # Numbers of people and of faces don't meet.
            people = gathered(people)
            faces = torch.where(people < 0, -1 - faces, people)
        # For each device: its first views, then its second views.
        faces = faces.view(dist.world_size(), 1, -1).expand(-1, 2, -1)
        own = faces[dist.rank()].flatten()
        return (views @ everyone.T).masked_fill(own[:, None] == faces.flatten(), float("-inf"))
