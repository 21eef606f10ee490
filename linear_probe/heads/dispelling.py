"""How much of an exogenous representation is in an endogenous one, to be trained away."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class CosineDispelling(nn.Module):
    """Mean |cosine| between what an exogenous network's last layers make of its own features and
    what they make of the endogenous features of the same pictures.

    0 where those layers read nothing of the exogenous embedding in the endogenous features, 1 where
    they read just it. The layers don't learn. The paper's loss as its authors' public network has
    it (`facial_expression_recognition/model/thin.py` of github.com/estephe-arnaud/ademfa).
    """

    def forward(self, exogenous: Tensor, endogenous: Tensor) -> Tensor:
        """A scalar, float32, of embeddings [B, D] and [B, D]."""
        return F.cosine_similarity(exogenous.float(), endogenous.float()).abs().mean()
