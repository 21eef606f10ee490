"""SimCLR: find the other image of the pair among all images of the batch.

Chen, Kornblith, Norouzi, Hinton: A Simple Framework for Contrastive Learning of Visual
Representations, ICML 2020.
"""

from __future__ import annotations

from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, PositiveFloat
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class SimCLR(JointEmbedding):
    """SimCLR; negatives are gathered from all devices.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        temperature: of the softmax over cosines.
        projection_dim: length of the embedding.
    """

    name = "simclr"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        temperature: PositiveFloat = 0.1,
        projection_dim: LayerWidth = 128,
    ) -> None:
        super().__init__(locals())
        dim = self.representation_dim
        self.projector = SimCLRProjectionHead(dim, dim, projection_dim)
        self.criterion = NTXentLoss(temperature, gather_distributed=True)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        first, second = self.projector(self.represent(x)).chunk(2)
        return {"contrastive": self.criterion(first, second)}
