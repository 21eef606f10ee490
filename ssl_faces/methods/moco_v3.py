"""MoCo v3: find the teacher's embedding of the other image of the pair among all of the batch.

Chen, Xie, He: An Empirical Study of Training Self-Supervised Vision Transformers, ICCV 2021.
"""

from __future__ import annotations

import torch
from lightly.models.modules import MoCoProjectionHead
from torch import Tensor

from ssl_faces.common.ranges import LayerWidth, PositiveFloat, UnitFloat
from ssl_faces.losses.contrast import info_nce
from ssl_faces.methods.joint_embedding import JointEmbedding, Teacher
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class MoCoV3(JointEmbedding):
    """MoCo v3: no queue; keys are gathered from all devices. Patch projections of ViTs stay random,
    position embeddings are fixed.

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
            torch.nn.init.xavier_uniform_(patches.weight.view(len(patches.weight), -1))
            patches.requires_grad_(False)
        self.projector = MoCoProjectionHead(
            self.representation_dim, hidden_dim, projection_dim, num_layers=3, batch_norm=True
        )
        self.predictor = MoCoProjectionHead(
            projection_dim, hidden_dim, projection_dim, num_layers=2, batch_norm=True
        )
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.temperature = temperature

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        queries = self.predictor(self.projector(self.represent(x))).chunk(2)
        keys = self.targets(x).chunk(2)
        first = info_nce(queries[0], keys[1], self.temperature)
        return {"contrastive": first + info_nce(queries[1], keys[0], self.temperature)}
