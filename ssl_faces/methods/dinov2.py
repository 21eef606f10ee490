"""DINOv2: DINO, iBOT's prediction of masked patches, and features that spread (KoLeo).

Oquab et al.: DINOv2: Learning Robust Visual Features without Supervision, TMLR 2024. Patches:
Zhou et al.: iBOT: Image BERT Pre-Training with Online Tokenizer, ICLR 2022. KoLeo: Sablayrolles
et al.: Spreading Vectors for Similarity Search, ICLR 2019.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from lightly.loss import DINOLoss, IBOTPatchLoss, KoLeoLoss
from lightly.models.modules.heads import DINOv2ProjectionHead
from torch import Tensor, nn

from ssl_faces.common.ranges import (
    ImageSide,
    LayerWidth,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    UnitAbove0,
    UnitFloat,
    check_increasing,
)
from ssl_faces.losses.contrast import gathered
from ssl_faces.methods.joint_embedding import Teacher
from ssl_faces.methods.multi_crop import MultiCrop
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.methods.patch_blocks import MaskedViT, draw_blocks
from ssl_faces.networks.backbone import VIT_TINY, BackboneEncoder, EncoderSettings

_RATIO = (0.3, 1 / 0.3)  # of a masked block's height to its width, as in the authors' code


class DINOv2(MultiCrop):
    """DINOv2 with multi-crop, for ViTs. The student sees half of the global crops with a block of
    patches masked. It predicts the teacher's distribution of the image (from each other crop's
    class token) and of each masked patch.

    Differences from the authors' code: one block a masked crop, targets are centred by a moving
    average instead of Sinkhorn-Knopp, and no stochastic depth. KoLeo is computed over the class
    tokens of all devices, each view by itself. With `patch_weight` 1 and `koleo_weight` 0 it is
    iBOT with separate heads.

    Args:
        encoder: the encoder to train, a ViT with a class token.
        optimizer: its optimiser.
        momentum: of the teacher at the start.
        local_crops, local_size, local_scale: number for each of the two images (4 in the paper),
            side in pixels, a multiple of the patch size, and smallest and largest share of the
            image's area.
        mask_share: share of the global crops with masked patches.
        mask_area: smallest and largest share of the patches in the block.
        prototypes: length of both distributions (65536 or more in the paper).
        hidden_dim: of the projectors (2048 in the paper).
        student_temperature, teacher_temperature: of the softmaxes.
        warmup_temperature: of the teacher at the start; rises linearly to `teacher_temperature`.
        warmup_share: share of the run in which it rises.
        frozen_share: share of the run in which the projectors' last layers are frozen.
        patch_weight, koleo_weight: of the loss terms.

    Raises:
        InputError: the encoder is no ViT with a class token, or invalid settings.
    """

    name = "dinov2"
    projector: nn.ModuleDict
    teacher: Teacher

    def __init__(
        self,
        encoder: EncoderSettings = VIT_TINY,
        optimizer: OptimizerSettings = ADAMW,
        momentum: UnitFloat = 0.99,
        local_crops: NonNegativeInt = 2,
        local_size: ImageSide = 32,
        local_scale: tuple[UnitAbove0, UnitAbove0] = (0.15, 0.5),
        mask_share: UnitAbove0 = 0.5,
        mask_area: tuple[UnitAbove0, UnitAbove0] = (0.1, 0.5),
        prototypes: LayerWidth = 4096,
        hidden_dim: LayerWidth = 1024,
        student_temperature: PositiveFloat = 0.1,
        teacher_temperature: PositiveFloat = 0.07,
        warmup_temperature: PositiveFloat = 0.04,
        warmup_share: UnitFloat = 0.3,
        frozen_share: UnitFloat = 0.01,
        patch_weight: NonNegativeFloat = 1.0,
        koleo_weight: NonNegativeFloat = 0.1,
    ) -> None:
        super().__init__(locals())
        dim = self.representation_dim
        # In a module, so that it is trained.
        self.mask = nn.ParameterDict({"token": nn.Parameter(torch.zeros(1, 1, dim))})
        self.masked = MaskedViT(self.encoder, self.name, self.mask["token"])
        check_increasing(mask_area, "model.mask_area")
        self.mask_share, self.mask_area = mask_share, mask_area
        # Tensors with a gradient can't be copied to the teacher.
        with torch.no_grad():
            self.projector = nn.ModuleDict(
                {
                    kind: DINOv2ProjectionHead(dim, hidden_dim, output_dim=prototypes)
                    for kind in ("image", "patch")
                }
            )
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.of_images = DINOLoss(prototypes, student_temp=student_temperature)
        self.of_patches = IBOTPatchLoss(prototypes, student_temp=student_temperature)
        self.koleo = KoLeoLoss()
        self.patch_weight, self.koleo_weight = patch_weight, koleo_weight

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        pairs = len(x) // 2
        mask, temperature = self.draw(len(x)).to(x.device), self.teacher_temperature
        with torch.no_grad():
            classes, patches = self.tokens(x, self.teacher.encoder)
            aim = self.teacher.projector["image"](classes).split(pairs)  # type: ignore[index]
            patch_aim = self.teacher.projector["patch"](patches[mask])  # type: ignore[index]
        classes, patches = self.tokens(x, self.encoder, mask)
        crops = [classes, self.represent(self.cut(x))] if self.local_crops else [classes]
        student = self.projector["image"](torch.cat(crops)).split(pairs)
        masked = self.projector["patch"](patches[mask])
        patch_loss = self.of_patches(patch_aim, masked, mask, temperature)
        spread = [self.koleo(gathered(view)) for view in classes.split(pairs)]
        return {
            "images": self.of_images(list(aim), list(student), temperature),
            "patches": self.patch_weight * patch_loss,
            "koleo": self.koleo_weight * (spread[0] + spread[1]),
        }

    def draw(self, count: int) -> Tensor:
        """The masked patches, bool [count, side, side], of as many global crops; on the CPU."""
        side = math.isqrt(self.encoder.network.patch_embed.num_patches)
        blocks = draw_blocks(count, side, self.mask_area, _RATIO)
        chosen = torch.randperm(count) < max(1, round(self.mask_share * count))
        return blocks & chosen[:, None, None]

    def tokens(
        self, x: Tensor, encoder: BackboneEncoder, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Class tokens [B, D] and patch tokens [B, side, side, D] of normalised images, float32."""
        with self.reduced_precision():
            if mask is None:
                tokens = encoder.network.forward_features(x)
            else:
                tokens = self.masked.encode_masked(x, mask)
        tokens, prefix = tokens.float(), self.masked.prefix
        side = math.isqrt(tokens.shape[1] - prefix)
        return tokens[:, 0], tokens[:, prefix:].unflatten(1, (side, side))

    def last_layers(self) -> Iterable[nn.Module]:
        return (head.last_layer for head in self.projector.values())  # type: ignore[misc]
