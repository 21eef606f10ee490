"""InfoNCE whose negatives are changed versions of the same face, and other faces if wanted."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


class OwnNegativesLoss(nn.Module):
    """Two views of a face attract; its own negatives, which are no views of it, repel.

    For each view v of a face, with w the other one and N the face's own negatives (which both
    views share): −log of exp(v·w/T) / (exp(v·w/T) + Σ_N exp(v·n/T) + Σ_O exp(v·o/T)), where all are
    of length 1 and O is empty, or all views of all other faces, those of other devices among them
    (van den Oord et al. 2018; with O and no own negatives it is SimCLR's NT-Xent). Mean over views.

    Args:
        temperature: T.
        other_faces: whether other faces' views are negatives too.
    """

    def __init__(self, temperature: float, other_faces: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.other_faces = other_faces

    def forward(self, first: Tensor, second: Tensor, negatives: Tensor) -> Tensor:
        """The loss, float32.

        Args:
            first, second: the two views [b, D] of b faces.
            negatives: of the same faces, [b, m, D]; m may be 0.
        """
        first, second, negatives = (
            F.normalize(t.float(), dim=-1) for t in (first, second, negatives)
        )
        views = torch.cat((first, second))
        positive = (first * second).sum(-1).repeat(2)[:, None]
        own = torch.cat([(v[:, None] * negatives).sum(-1) for v in (first, second)])
        parts = [positive, own]
        if self.other_faces:
            parts.append(self._others(views))
        logits = torch.cat(parts, 1) / self.temperature
        return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))

    def _others(self, views: Tensor) -> Tensor:
        """Cosines [2b, 2B] with all views of all devices, minus infinity with those of one face."""
        faces = torch.arange(len(views) // 2, device=views.device)
        there, of = views, faces
        if dist.is_initialized() and dist.get_world_size() > 1:
            from lightly.utils.dist import gather

            faces = faces + dist.get_rank() * len(faces)
            there = torch.cat(gather(views))
            of = torch.arange(len(there) // 2, device=views.device)
            # By device: its first views, then its second views.
            of = of.view(dist.get_world_size(), 1, -1).expand(-1, 2, -1).flatten()
            return self._masked(views @ there.T, faces.repeat(2), of)
        return self._masked(views @ there.T, faces.repeat(2), of.repeat(2))

    @staticmethod
    def _masked(cosines: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        return cosines.masked_fill(rows[:, None] == columns[None], float("-inf"))
