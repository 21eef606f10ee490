"""DINO: local and global crops predict the teacher's centred and sharpened distribution.

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
    ImageSide,
    LayerWidth,
    NonNegativeInt,
    PositiveFloat,
    UnitAbove0,
    UnitFloat,
)
from ssl_faces.data.pairs.augment import PRESETS, PairAugmentation
from ssl_faces.methods.joint_embedding import JointEmbedding, Teacher
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import RESNET18, EncoderSettings


class DINO(JointEmbedding):
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
        low, high = local_scale
        if low > high:
            raise InputError(
                f"model.local_scale: {low:g} to {high:g}; give the smaller share of the area first"
            )
        side = local_size if self.encoder.takes(local_size) else self.encoder.input_size
        strengths = replace(PRESETS["views"], crop_scale=(low, high))
        self.local = PairAugmentation(side, strengths)
        self.local_crops = local_crops
        # Tensors with a gradient can't be copied to the teacher.
        with torch.no_grad():
            self.projector = DINOProjectionHead(
                self.representation_dim, hidden_dim, output_dim=prototypes
            )
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.criterion = DINOLoss(prototypes, student_temp=student_temperature)
        self.temperatures = (warmup_temperature, teacher_temperature)
        self.warmup_share = warmup_share
        self.frozen_share = frozen_share

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        crops = [self.represent(x)]
        if self.local_crops:
            crops.append(self.represent(self.cut(x)))
        student = self.projector(torch.cat(crops)).split(len(x) // 2)
        teacher = self.targets(x).chunk(2)
        loss = self.criterion(list(teacher), list(student), self.teacher_temperature())
        return {"distillation": loss}

    def teacher_temperature(self) -> float:
        """The temperature of the teacher's softmax in this step."""
        start, end = self.temperatures
        warmup = self.warmup_share * self.steps
        return start + (end - start) * min(1.0, self.trainer.global_step / max(1.0, warmup))

    def cut(self, x: Tensor) -> Tensor:
        """Normalised local crops [2b · local_crops, 3, s, s] of normalised images [2b, …]: crop by
        crop, each in the order of `views`."""
        pairs = self.encoder.denormalise(x).unflatten(0, (2, -1)).transpose(0, 1)
        crops = [self.local(pairs).transpose(0, 1).flatten(0, 1) for _ in range(self.local_crops)]
        local = self.encoder.normalise(torch.cat(crops))
        return local.contiguous(memory_format=torch.channels_last)

    def on_after_backward(self) -> None:
        if self.trainer.global_step < self.frozen_share * self.steps:
            self.projector.last_layer.zero_grad()
