"""Barlow Twins: the cross-correlation of a pair's embeddings should be the identity matrix.

Zbontar, Jing, Misra, LeCun, Deny: Barlow Twins: Self-Supervised Learning via Redundancy Reduction,
ICML 2021.
"""

from __future__ import annotations

from lightly.loss import BarlowTwinsLoss
from lightly.models.modules import BarlowTwinsProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, NonNegativeFloat
from ssl_faces.losses.contrast import gathered
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class BarlowTwins(JointEmbedding):
    """Barlow Twins; correlations are computed over the batches of all devices.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        projection_dim: of the projector's three layers (8192 in the paper).
        redundancy_weight: of correlations between different dimensions of the embedding.
    """

    name = "barlow_twins"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        projection_dim: LayerWidth = 1024,
        redundancy_weight: NonNegativeFloat = 0.005,
    ) -> None:
        super().__init__(locals())
        self.projector = BarlowTwinsProjectionHead(
            self.representation_dim, projection_dim, projection_dim
        )
        self.criterion = BarlowTwinsLoss(redundancy_weight)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        first, second = self.embed(x).chunk(2)
        # Gathered first: lightly gathers after standardising each device's batch separately.
        return {"correlation": self.criterion(gathered(first), gathered(second))}
