"""W-MSE: equal embeddings of both views, after the batch's embeddings are whitened.

Ermolov, Siarohin, Sangineto, Sebe: Whitening for Self-Supervised Representation Learning,
ICML 2021.
"""

from __future__ import annotations

import torch
from lightly.loss import WMSELoss
from lightly.models.modules.heads import ProjectionHead
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import LayerWidth, PositiveInt, UnitBelow1
from ssl_faces.losses.contrast import gathered
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class WMSE(JointEmbedding):
    """W-MSE. Random groups of the pairs of all devices are whitened, each view by itself.

    In a group with embeddings v (mean m, covariance S = L L^T), z = L^-1 (v - m). The loss is the
    mean of 2 - 2 cos(z, z') over the pairs; it can't collapse, as z has unit covariance.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        group_size: pairs in a group; the batch (on all devices) must be a multiple.
        projection_dim: length of the embedding; at most half of `group_size`.
        hidden_dim: of the projector.
        shrinkage: share of the identity matrix in the covariance (0 in the authors' code; small
            groups need it for the Cholesky decomposition).

    Raises:
        InputError: a group that is too small, or settings out of range.
    """

    name = "w_mse"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        group_size: PositiveInt = 128,
        projection_dim: LayerWidth = 64,
        hidden_dim: LayerWidth = 1024,
        shrinkage: UnitBelow1 = 0.001,
    ) -> None:
        super().__init__(locals())
        if group_size < 2 * projection_dim:
            raise InputError(
                f"model.group_size: {group_size} pairs can't be whitened to model.projection_dim "
                f"{projection_dim}; give at least {2 * projection_dim}"
            )
        self.projector = ProjectionHead(
            [
                (self.representation_dim, hidden_dim, nn.BatchNorm1d(hidden_dim), nn.ReLU()),
                (hidden_dim, projection_dim, None, None),
            ]
        )
        self.group_size = group_size
        self.criterion = WMSELoss(
            projection_dim, eps=shrinkage, track_running_stats=False, w_size=group_size
        )

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        embeddings = self.projector(self.by_view(self.represent, x))
        first, second = (gathered(view) for view in embeddings.chunk(2))
        if len(first) % self.group_size:
            raise InputError(
                f"data.batch_size: {len(x) // 2}; w_mse whitens groups of {self.group_size} pairs: "
                "give a multiple of it (on all devices together), or set --model.group_size"
            )
        # All devices draw the same groups.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.trainer.global_step)
            return {"alignment": self.criterion(torch.cat((first, second)))}
