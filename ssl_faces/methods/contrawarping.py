"""ContraWarping: affine maps and colours keep an expression, local warps change it.

Xue, Sun, Yang: Unsupervised Facial Expression Representation Learning with Contrastive Local
Warping, arXiv 2303.09034, 2023.
"""

from __future__ import annotations

import torch
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, PositiveFloat, PositiveInt
from ssl_faces.losses.own_negatives import OwnNegativesLoss
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings
from ssl_faces.networks.warp import warp
from ssl_faces.pairs.local_warps import AffineMaps, LocalWarps, then_affine

AFFINE = AffineMaps()
LOCAL = LocalWarps()


class ContraWarping(JointEmbedding):
    """Contrastive local warping.

    Positives are the two images of a pair (different crops, colours and mirroring), each with a
    random affine map. Negatives are the same images with an additional local warp, and other
    faces. Only the paper's abstract is available: the warps and InfoNCE are our choice. Every image
    is resampled exactly once, so that blur is no cue.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        temperature: of the softmax over cosines.
        projection_dim: length of the embedding.
        negatives: warped images for each view; a face has twice as many own negatives.
        other_faces: also use other faces, from all devices, as negatives.
        local: strength of the local warps.
        affine: strength of the affine maps.
    """

    name = "contrawarping"

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        temperature: PositiveFloat = 0.1,
        projection_dim: LayerWidth = 128,
        negatives: PositiveInt = 1,
        other_faces: bool = True,
        local: LocalWarps = LOCAL,
        affine: AffineMaps = AFFINE,
    ) -> None:
        super().__init__(locals())
        self.negatives = negatives
        self.local = local
        self.affine = affine
        dim = self.representation_dim
        self.projector = SimCLRProjectionHead(dim, dim, projection_dim)
        self.criterion = OwnNegativesLoss(temperature, other_faces)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        views, warped, _ = self.changed(x)
        embeddings = self.projector(self.represent(torch.cat((views, warped))))
        pairs = len(x) // 2
        first, second, own = embeddings.tensor_split((pairs, 2 * pairs))
        # From (draw, view, face) to the negatives of each face.
        own = own.view(2 * self.negatives, pairs, -1).transpose(0, 1)
        return {"contrastive": self.criterion(first, second, own)}

    def changed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views [2b, 3, S, S] of images x [2b, 3, S, S], their negatives
        [negatives·2b, 3, S, S], draw by draw, and their local flows [negatives·2b, 2, S, S]."""
        count, size = len(x), x.shape[-1]
        repeated = self.negatives * count
        # Zero for the views.
        local = self.local.draw(repeated, size)
        flows = torch.cat((local.new_zeros(count, 2, size, size), local)).to(x.device)
        flows = then_affine(flows, self.affine.draw(count + repeated))
        images = warp(x.repeat(1 + self.negatives, 1, 1, 1), flows, padding="border")
        images = images.contiguous(memory_format=torch.channels_last)
        return images[:count], images[count:], local

    def shown(self, x: Tensor) -> dict[str, Tensor]:
        pairs = len(x) // 2
        views, warped, local = self.changed(x)
        negatives = {f"negative {i}": part for i, part in enumerate(warped.split(pairs), 1)}
        positives = {"positive": views[:pairs], "positive 2": views[pairs:]}
        return {"picture": x[:pairs], **positives, **negatives, "local flow": local[:pairs]}
