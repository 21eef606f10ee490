"""FAb-Net: the embeddings of two frames must be enough to warp one into the other.

Wiles, Koepke, Zisserman: Self-supervised learning of a facial attribute embedding from video,
BMVC 2018.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, NonNegativeFloat
from ssl_faces.losses.fold import FoldLoss
from ssl_faces.methods.encoder_method import ViewsMethod
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings
from ssl_faces.networks.motion_decoder import MotionDecoder
from ssl_faces.networks.warp import warp


class FAbNet(ViewsMethod):
    """FAb-Net with a single source.

    The feature space `embedding`, a linear layer on the encoder's representation, is the paper's. A
    decoder predicts a flow from the embeddings of source and target; the loss is the L1 distance
    between the warped source and the target.

    Differences to the paper: each frame of a pair is source once and target once. The decoder is
    FaceCycle's, with a 16x16 flow. Warps use border padding. A fold term is added: with mirror
    images as pairs, training otherwise finds within 200 steps a flow that mirrors every face, and
    the embeddings stay empty. There is no attention over several sources and no curriculum.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        embedding_dim: length of the embedding.
        decoder_width: channels of the decoder's last layer.
        fold_weight: of the `FoldLoss` of the flows; pixel L1 has weight 1.
    """

    name = "fabnet"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        embedding_dim: LayerWidth = 256,
        decoder_width: LayerWidth = 32,
        fold_weight: NonNegativeFloat = 10.0,
    ) -> None:
        super().__init__(locals(), {"embedding": embedding_dim})
        self.fold = FoldLoss()
        self.decoder = MotionDecoder(decoder_width, 2 * embedding_dim)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        warped, flow, target = self.warp_to_other(x)
        return self.weighted({"pixel": F.l1_loss(warped, target), "fold": self.fold(flow)})

    def warp_to_other(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each frame of x [2b, 3, S, S] warped into the other one of its pair, the flows
        [2b, 2, 16, 16], and the other frames."""
        embedding = self.encoder.codes_of(self.represent(x))["embedding"]
        half = len(x) // 2
        both = torch.cat((embedding, embedding.roll(half, 0)), 1)
        with self.reduced_precision():
            flow = self.decoder(both)
        return warp(x, flow, padding="border"), flow, x.roll(half, 0)

    def shown(self, x: Tensor) -> dict[str, Tensor]:
        warped, flow, target = self.warp_to_other(x)
        return {"source": x, "target": target, "source warped": warped, "flow": flow}
