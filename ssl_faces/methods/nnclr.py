"""NNCLR: the positive of an image is the nearest neighbour of its other view among earlier images.

Dwibedi, Aytar, Tompson, Sermanet, Zisserman: With a Little Help from My Friends: Nearest-Neighbor
Contrastive Learning of Visual Representations, ICCV 2021.
"""

from __future__ import annotations

from lightly.models.modules import NNMemoryBankModule
from lightly.models.modules.heads import NNCLRPredictionHead, NNCLRProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, PositiveFloat, PositiveInt
from ssl_faces.losses.contrast import info_nce
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class NNCLR(JointEmbedding):
    """NNCLR; negatives and the bank's embeddings are gathered from all devices.

    The nearest neighbour of each image's embedding must be found to belong to the prediction of
    the image's other view, among the predictions of the batch. InfoNCE is multiplied by twice the
    temperature, as in MoCo v3.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        temperature: of the softmax over cosines.
        bank_size: number of earlier embeddings to search (98304 in the paper, for ImageNet).
        hidden_dim, projection_dim: of projector and predictor (2048 or 4096, and 256 in the paper).
    """

    name = "nnclr"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        temperature: PositiveFloat = 0.1,
        bank_size: PositiveInt = 4096,
        hidden_dim: LayerWidth = 1024,
        projection_dim: LayerWidth = 256,
    ) -> None:
        super().__init__(locals())
        self.projector = NNCLRProjectionHead(self.representation_dim, hidden_dim, projection_dim)
        self.predictor = NNCLRPredictionHead(projection_dim, hidden_dim, projection_dim)
        self.bank = NNMemoryBankModule((bank_size, projection_dim))
        self.bank.gather_distributed = True
        # lightly leaves them out of checkpoints; a resumed run needs them.
        for name, value in dict(self.bank.named_buffers()).items():
            self.bank.register_buffer(name, value, persistent=True)
        self.temperature = temperature

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        embeddings = self.embed(x)
        first, second = self.by_view(self.predictor, embeddings).chunk(2)
        views = embeddings.detach().chunk(2)
        near_first = self.bank(views[0], update=False)
        near_second = self.bank(views[1], update=True)
        loss = info_nce(near_first, second, self.temperature)
        return {"contrastive": (loss + info_nce(near_second, first, self.temperature)) / 2}
