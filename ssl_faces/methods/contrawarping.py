"""ContraWarping: affine maps and colours leave an expression as it is, local warps change it.

Xue, Sun, Yang: Unsupervised Facial Expression Representation Learning with Contrastive Local
Warping, arXiv 2303.09034, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from lightly.models.modules import SimCLRProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, PositiveFloat, PositiveInt
from ssl_faces.data.pairs.local_warps import AffineMaps, LocalWarps, then_affine
from ssl_faces.losses.own_negatives import OwnNegativesLoss
from ssl_faces.methods.encoder_method import plain
from ssl_faces.methods.joint_embedding import JointEmbedding
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings
from ssl_faces.networks.warp import warp

AFFINE = AffineMaps()
LOCAL = LocalWarps()


class ContraWarping(JointEmbedding):
    """Contrastive local warping.

    The two pictures of a pair, which differ in crop, colours and mirroring, get a random affine map
    each: they attract. The same pictures warped locally too, by other draws, are the negatives of
    both; other faces are further ones. What the warps are and that the loss is InfoNCE is ours: we
    know the paper by its abstract. Every picture is resampled once, so that blur tells nothing.

    Args:
        encoder: which encoder.
        optimizer: how it is trained.
        temperature: of the softmax over cosines.
        projection_dim: length of the embedding that is compared.
        negatives: warped pictures of each view: a face has twice as many negatives of its own.
        other_faces: whether other faces, of all devices, are negatives too.
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
        super().__init__(
            *(encoder, optimizer),
            temperature=temperature,
            projection_dim=projection_dim,
            negatives=negatives,
            other_faces=other_faces,
            local=plain(asdict(local)),
            affine=asdict(affine),
        )
        self.negatives = negatives
        self.local = local
        self.affine = affine
        dim = self.representation_dim
        self.projector = SimCLRProjectionHead(dim, dim, projection_dim)
        self.criterion = OwnNegativesLoss(temperature, other_faces)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        views, warped, _ = self.changed(x)
        found = self.projector(self.represent(torch.cat((views, warped))))
        pairs = len(x) // 2
        first, second, own = found[:pairs], found[pairs : 2 * pairs], found[2 * pairs :]
        # By draw, then by view, then by face: a face's lie together in the result.
        own = own.view(2 * self.negatives, pairs, -1).transpose(0, 1)
        return {"contrastive": self.criterion(first, second, own)}

    def changed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views [2b, 3, S, S] of pictures x [2b, 3, S, S]; `negatives` times 2b pictures warped
        locally, all first draws first; and these local flows [negatives·2b, 2, S, S]."""
        count, size = len(x), x.shape[-1]
        repeated = self.negatives * count
        # All zeros for the views.
        local = self.local.draw(repeated, size)
        flows = torch.cat((local.new_zeros(count, 2, size, size), local)).to(x.device)
        flows = then_affine(flows, self.affine.draw(count + repeated))
        pictures = warp(x.repeat(1 + self.negatives, 1, 1, 1), flows, padding="border")
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        return pictures[:count], pictures[count:], local

    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The pictures, two positives and the negatives [b, 3, S, S] in [0, 1], by name; `local
        flow`, of the first negative, is [b, 2, S, S]."""
        with self.editing(), torch.autocast(self.device.type, enabled=False):
            x = self.views(batch)
            pairs = len(x) // 2
            views, warped, local = self.changed(x)
            show = self.encoder.denormalise
            pictures = {
                "picture": x[:pairs],
                "positive": views[:pairs],
                "positive 2": views[pairs:],
            }
            for number, found in enumerate(warped.split(pairs), 1):
                pictures[f"negative {number}"] = found
            shown = {name: show(value) for name, value in pictures.items()}
            return shown | {"local flow": local[:pairs]}
