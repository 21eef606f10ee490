"""MoCo v3: find the teacher's embedding of the other image of the pair among all of the batch.

Chen, Xie, He: An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from ssl_faces.common.ranges import LayerWidth, PositiveFloat, UnitFloat
from ssl_faces.losses.contrast import info_nce
from ssl_faces.methods.joint_embedding import JointEmbedding, Teacher
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class MoCoV3(JointEmbedding):
    """MoCo v3: no queue; keys are gathered from all devices. Patch projections of ViTs stay random,
    position embeddings are fixed. As in the authors' code, the projector has three layers for ViTs
    and two for other encoders.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        temperature: of the softmax over cosines.
        momentum: of the teacher at the start.
        hidden_dim, projection_dim: of projector and predictor (4096 and 256 in the paper).
    """

    name = "moco_v3"
    teacher: Teacher

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        temperature: PositiveFloat = 0.2,
        momentum: UnitFloat = 0.99,
        hidden_dim: LayerWidth = 1024,
        projection_dim: LayerWidth = 256,
    ) -> None:
        super().__init__(locals())
        if self.encoder.is_vit:
            self.encoder.fix_positions()
            patches = self.encoder.network.patch_embed.proj
            if self.encoder.start is None:
                torch.nn.init.xavier_uniform_(patches.weight.view(len(patches.weight), -1))
            patches.requires_grad_(False)
        hidden = [hidden_dim] * (2 if self.encoder.is_vit else 1)
        self.projector = _head(self.representation_dim, *hidden, projection_dim)
        self.predictor = _head(projection_dim, hidden_dim, projection_dim)
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.temperature = temperature

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        queries = self.by_view(self.predictor, self.embed(x)).chunk(2)
        keys = self.by_view(self.targets, x).chunk(2)
        first = info_nce(queries[0], keys[1], self.temperature)
        return {"contrastive": first + info_nce(queries[1], keys[0], self.temperature)}


def _head(*widths: int) -> nn.Sequential:
    """Layers without biases, each with batch normalisation, the last one's without weights."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers[:-2], nn.BatchNorm1d(widths[-1], affine=False))
