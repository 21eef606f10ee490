"""BYOL: predict the teacher's embedding of the other image of the pair; no negatives.

Grill et al.: Bootstrap Your Own Latent, NeurIPS 2020.
"""

from __future__ import annotations

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, UnitFloat
from ssl_faces.methods.joint_embedding import JointEmbedding, Teacher
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class BYOL(JointEmbedding):
    """BYOL.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        momentum: of the teacher at the start.
        hidden_dim, projection_dim: widths of projector and predictor.
    """

    name = "byol"
    teacher: Teacher

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        momentum: UnitFloat = 0.99,
        hidden_dim: LayerWidth = 1024,
        projection_dim: LayerWidth = 256,
    ) -> None:
        super().__init__(locals())
        self.projector = BYOLProjectionHead(self.representation_dim, hidden_dim, projection_dim)
        self.predictor = BYOLPredictionHead(projection_dim, hidden_dim, projection_dim)
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.criterion = NegativeCosineSimilarity()

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        predicted = self.by_view(self.predictor, self.embed(x))
        # Each image against the other one of its pair.
        target = self.by_view(self.targets, x).roll(len(x) // 2, 0)
        return {"prediction": self.criterion(predicted, target)}
