"""DINO: small crops and whole pictures alike predict a slow average's centred, sharp distribution.

Caron et al.: Emerging Properties in Self-Supervised Vision Transformers, ICCV 2021.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import (
    LayerWidth,
    NonNegativeInt,
    PictureSide,
    PositiveFloat,
    UnitAbove0,
    UnitFloat,
)
from ssl_faces.data.pairs.augment import PRESETS, PairAugmentation
from ssl_faces.methods.joint_embedding import JointEmbedding, Teacher
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class DINO(JointEmbedding):
    """DINO with multi-crop: the pictures of a pair are its two global crops, and local ones are cut
    from these, each with a jitter of its own.

    Args:
        encoder: which encoder. ViTs interpolate their position embeddings for local crops; one that
            takes pictures of one side only (FaceCycle's) gets local crops enlarged to it, at more
            cost.
        optimizer: how it is trained.
        momentum: of the average at the start (0.996 in the paper, for runs that are far longer).
        local_crops: of each of the two pictures.
        local_size: their side; for ViTs a multiple of the patches'.
        local_scale: smallest and largest share of the picture's area that they take.
        prototypes: length of the distribution (65536 in the paper).
        hidden_dim: of the projector (2048 in the paper).
        student_temperature, teacher_temperature: of the softmaxes.
        warmup_temperature: of the teacher's at first, from which it rises linearly.
        warmup_epochs: in which it rises.
        frozen_epochs: in which the projector's last layer isn't trained.
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
        local_size: PictureSide = 32,
        local_scale: tuple[UnitAbove0, UnitAbove0] = (0.15, 0.5),
        prototypes: LayerWidth = 4096,
        hidden_dim: LayerWidth = 1024,
        student_temperature: PositiveFloat = 0.1,
        teacher_temperature: PositiveFloat = 0.07,
        warmup_temperature: PositiveFloat = 0.04,
        warmup_epochs: NonNegativeInt = 30,
        frozen_epochs: NonNegativeInt = 1,
    ) -> None:
        super().__init__(
            *(encoder, optimizer),
            momentum=momentum,
            local_crops=local_crops,
            local_size=local_size,
            local_scale=local_scale,
            prototypes=prototypes,
            hidden_dim=hidden_dim,
            student_temperature=student_temperature,
            teacher_temperature=teacher_temperature,
            warmup_temperature=warmup_temperature,
            warmup_epochs=warmup_epochs,
            frozen_epochs=frozen_epochs,
        )
        low, high = local_scale
        if low > high:
            raise InputError(
                f"model.local_scale: {low:g} to {high:g}; give the smaller share of the area first"
            )
        side = local_size if self.encoder.takes(local_size) else self.encoder.input_size
        strengths = replace(PRESETS["views"], crop_scale=(low, high))
        self.local = PairAugmentation(side, strengths)
        self.local_crops = local_crops
        # Without gradient what is computed of the last layer's weights can be copied.
        with torch.no_grad():
            self.projector = DINOProjectionHead(
                self.representation_dim,
                hidden_dim,
                output_dim=prototypes,
                freeze_last_layer=frozen_epochs,
            )
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.criterion = DINOLoss(
            prototypes,
            warmup_temperature,
            teacher_temperature,
            warmup_epochs,
            student_temperature,
        )

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        crops = [self.represent(x)]
        if self.local_crops:
            crops.append(self.represent(self.cut(x)))
        student = self.projector(torch.cat(crops)).split(len(x) // 2)
        with torch.no_grad():
            teacher = self.teacher.projector(self.represent(x, self.teacher.encoder)).chunk(2)
        loss = self.criterion(list(teacher), list(student), epoch=self.current_epoch)
        return {"distillation": loss}

    def cut(self, x: Tensor) -> Tensor:
        """Local crops, normalised [2b · local_crops, 3, s, s], of normalised pictures [2b, …]: the
        first ones of the b pairs, their second ones, and so on."""
        pairs = self.encoder.denormalise(x).unflatten(0, (2, -1)).transpose(0, 1)
        crops = [self.local(pairs).transpose(0, 1).flatten(0, 1) for _ in range(self.local_crops)]
        local = self.encoder.normalise(torch.cat(crops))
        return local.contiguous(memory_format=torch.channels_last)

    def on_after_backward(self) -> None:
        self.projector.cancel_last_layer_gradients(self.current_epoch)
