"""FAb-Net: what two frames' embeddings say must be enough to warp the one into the other.

Wiles, Koepke, Zisserman: Self-supervised learning of a facial attribute embedding from video,
BMVC 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

    The encoder's space `embedding`, a linear layer on its representation, is the paper's. A decoder
    takes source's and target's embeddings and gives a flow; the loss is the L1 between the warped
    source and the target. Ours: each frame of a pair is once source and once target; the decoder is
    FaceCycle's, whose flow has 16x16 positions (the paper's has the picture's); outside the picture
    there is its border; and the fold term: where pairs are mirror images, a flow that mirrors all
    faces alike is else found within 200 steps, and the embeddings need say nothing. Left out:
    several sources with attention, and the curriculum of ever harder pairs.

    Args:
        encoder: which encoder.
        optimizer: how it is trained.
        embedding_dim: length of the embedding.
        decoder_width: channels of the decoder's last layer.
        fold_weight: of the `FoldLoss` of the flows; pixel L1 has 1.
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
        super().__init__(
            *(encoder, optimizer),
            codes={"embedding": embedding_dim},
            embedding_dim=embedding_dim,
            decoder_width=decoder_width,
            fold_weight=fold_weight,
        )
        self.fold_weight = fold_weight
        self.fold = FoldLoss()
        self.decoder = MotionDecoder(decoder_width, 2 * embedding_dim)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        warped, flow, target = self.warp_to_other(x)
        return {
            "pixel": F.l1_loss(warped, target),
            "fold": self.fold_weight * self.fold(flow),
        }

    def warp_to_other(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each frame of x [2b, 3, S, S] warped into its pair's other one; the flows
        [2b, 2, 16, 16]; and those other ones."""
        embedding = self.encoder.codes_of(self.represent(x))["embedding"]
        half = len(x) // 2
        both = torch.cat((embedding, embedding.roll(half, 0)), 1)
        with self.reduced_precision():
            flow = self.decoder(both)
        return warp(x, flow, padding="border"), flow, x.roll(half, 0)

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Sources, their targets and the sources warped [2b, 3, S, S] in [0, 1], and the flows
        [2b, 2, 16, 16]."""
        with self.editing(), torch.autocast(self.device.type, enabled=False):
            x = self.views(batch)
            warped, flow, target = self.warp_to_other(x)
            show = self.encoder.denormalise
            return {
                "source": show(x),
                "target": show(target),
                "source warped": show(warped),
                "flow": flow,
            }
