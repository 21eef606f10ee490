"""DINO: local and global crops predict the teacher's centred and sharpened distribution.

Caron et al.: Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from torch import Tensor, nn

from ssl_faces.common.ranges import (
    ImageSide,
    LayerWidth,
    NonNegativeInt,
    PositiveFloat,
    UnitAbove0,
    UnitFloat,
)
from ssl_faces.methods.joint_embedding import Teacher
from ssl_faces.methods.multi_crop import MultiCrop
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class DINO(MultiCrop):
    """DINO with multi-crop: the images of a pair are the two global crops; local crops are cut from
    them, each with a different colour jitter.

    Args:
        encoder: the encoder to train. ViTs interpolate their position embeddings for local crops.
            Encoders of a fixed input size (FaceCycle's) get enlarged local crops, at more cost.
        optimizer: its optimiser.
        momentum: of the teacher at the start (0.996 in the paper, for much longer runs).
        local_crops: number for each of the two images.
        local_size: their side in pixels; for ViTs a multiple of the patch size.
        local_scale: smallest and largest share of the image's area in a local crop.
        prototypes: length of the distribution (65536 in the paper).
        hidden_dim: of the projector (2048 in the paper).
        student_temperature, teacher_temperature: of the softmaxes.
        warmup_temperature: of the teacher at the start; rises linearly to `teacher_temperature`.
        warmup_share: share of the run in which it rises (30 of 100 epochs in the authors' code).
        frozen_share: share of the run in which the projector's last layer is frozen (1 of 100).
    """

    name = "dino"
    projector: DINOProjectionHead
    teacher: Teacher

    def __init__(
        self,
        encoder: EncoderSettings = RESNET18,
        optimizer: OptimizerSettings = ADAMW,
        momentum: UnitFloat = 0.99,
        local_crops: NonNegativeInt = 2,
        local_size: ImageSide = 32,
        local_scale: tuple[UnitAbove0, UnitAbove0] = (0.15, 0.5),
        prototypes: LayerWidth = 4096,
        hidden_dim: LayerWidth = 1024,
        student_temperature: PositiveFloat = 0.1,
        teacher_temperature: PositiveFloat = 0.07,
        warmup_temperature: PositiveFloat = 0.04,
        warmup_share: UnitFloat = 0.3,
        frozen_share: UnitFloat = 0.01,
    ) -> None:
        super().__init__(locals())
        # Tensors with a gradient can't be copied to the teacher.
        with torch.no_grad():
            self.projector = DINOProjectionHead(
                self.representation_dim, hidden_dim, output_dim=prototypes
            )
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.criterion = DINOLoss(prototypes, student_temp=student_temperature)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        student = self.projector(self.represent_crops(x)).split(len(x) // 2)
        teacher = self.targets(x).chunk(2)
        return {
            "distillation": self.criterion(list(teacher), list(student), self.teacher_temperature)
        }

    def last_layers(self) -> Iterable[nn.Module]:
        return (self.projector.last_layer,)
