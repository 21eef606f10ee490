"""SimSiam: predict the embedding of the other image of the pair, with a stop-gradient.

Chen, He: Exploring Simple Siamese Representation Learning, CVPR 2021.
"""

from __future__ import annotations

from lightly.loss import NegativeCosineSimilarity
from lightly.models.modules import SimSiamPredictionHead, SimSiamProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class SimSiam(JointEmbedding):
    """SimSiam: without negatives and without a teacher.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        projection_dim: of the projector's three layers (2048 in the paper).
        hidden_dim: of the predictor, a quarter of that.
    """

    name = "simsiam"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        projection_dim: LayerWidth = 1024,
        hidden_dim: LayerWidth = 256,
    ) -> None:
        super().__init__(locals())
        dim = self.representation_dim
        self.projector = SimSiamProjectionHead(dim, projection_dim, projection_dim)
        self.predictor = SimSiamPredictionHead(projection_dim, hidden_dim, projection_dim)
        self.criterion = NegativeCosineSimilarity()

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        projected = self.embed(x)
        # Each image against the other one of its pair.
        target = projected.detach().roll(len(x) // 2, 0)
        return {"prediction": self.criterion(self.by_view(self.predictor, projected), target)}
