"""VICReg: invariant embeddings whose dimensions vary and are not correlated.

Bardes, Ponce, LeCun: VICReg: Variance-Invariance-Covariance Regularization, ICLR 2022.
"""

from __future__ import annotations

from lightly.loss.vicreg_loss import covariance_loss, invariance_loss, variance_loss
from lightly.models.modules.heads import VICRegProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, NonNegativeFloat
from ssl_faces.losses.contrast import gathered
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class VICReg(JointEmbedding):
    """VICReg; variances and covariances are computed over the batches of all devices.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        projection_dim: of the projector's three layers (8192 in the paper).
        invariance_weight, variance_weight, covariance_weight: of the loss terms.
    """

    name = "vicreg"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        projection_dim: LayerWidth = 1024,
        invariance_weight: NonNegativeFloat = 25.0,
        variance_weight: NonNegativeFloat = 25.0,
        covariance_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(locals())
        self.projector = VICRegProjectionHead(
            self.representation_dim, projection_dim, projection_dim
        )

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        first, second = self.embed(x).chunk(2)
        invariance = invariance_loss(first, second)
        first, second = gathered(first), gathered(second)
        terms = {
            "invariance": invariance,
            "variance": (variance_loss(first) + variance_loss(second)) / 2,
            "covariance": covariance_loss(first) + covariance_loss(second),
        }
        return self.weighted(terms)
