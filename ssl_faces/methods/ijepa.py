"""I-JEPA: predict the teacher's features of hidden blocks of the image from the rest.

Assran et al.: Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture,
CVPR 2023.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from lightly.models import utils
from lightly.models.modules import IJEPAPredictorTIMM
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import (
    LayerCount,
    LayerWidth,
    PositiveInt,
    UnitAbove0,
    UnitFloat,
    check_increasing,
)
from ssl_faces.methods.joint_embedding import JointEmbedding, Teacher
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.methods.patch_blocks import MaskedViT, draw_blocks, heads_of
from ssl_faces.networks.backbone import VIT_TINY, EncoderSettings

_TARGET_RATIO = (0.75, 1.5)  # of a target's height to its width
_LEAST_SEEN = 0.15
"""Least share of the patches that the encoder sees: where several targets would leave less, they
are one and the same."""


class IJEPA(JointEmbedding):
    """I-JEPA on both images of each pair, for ViTs: views play no part. Position embeddings are
    fixed. As no loss is of the class token, `pooled` (the mean of the patches) is the feature space
    to use, as in the paper.

    Args:
        encoder: the encoder to train, a ViT with a class token.
        optimizer: its optimiser.
        momentum: of the teacher at the start (0.996 in the paper).
        targets: number of blocks to predict.
        target_area: smallest and largest share of the patches in a target; all targets of a batch
            have the same height and width.
        context_area: smallest and largest share of the patches in the square block that is seen,
            less the targets. All images of a batch keep as many patches.
        predictor_dim, predictor_depth: of the predictor (384 and 6 or 12 in the paper).

    Raises:
        InputError: the encoder is no ViT with a class token, or invalid settings.
    """

    name = "ijepa"
    least_pairs = 1
    teacher: Teacher

    def __init__(
        self,
        encoder: EncoderSettings = VIT_TINY,
        optimizer: OptimizerSettings = ADAMW,
        momentum: UnitFloat = 0.99,
        targets: PositiveInt = 4,
        target_area: tuple[UnitAbove0, UnitAbove0] = (0.15, 0.2),
        context_area: tuple[UnitAbove0, UnitAbove0] = (0.85, 1.0),
        predictor_dim: LayerWidth = 96,
        predictor_depth: LayerCount = 4,
    ) -> None:
        super().__init__(locals())
        self.masked = MaskedViT(self.encoder, self.name)
        heads = heads_of(predictor_dim, "predictor_dim")
        self.encoder.fix_positions()
        vit = self.encoder.network
        self.patches: int = vit.patch_embed.num_patches
        self.projector = nn.Identity()
        self.teacher = Teacher(self.encoder, self.projector, momentum)
        self.predictor = IJEPAPredictorTIMM(
            self.patches, predictor_depth, vit.embed_dim, predictor_dim, heads
        )
        self.targets_of_image = targets
        check_increasing(target_area, "model.target_area")
        check_increasing(context_area, "model.context_area")
        self.target_area, self.context_area = target_area, context_area

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        context, blocks = self.draw(len(x))
        aim = utils.apply_masks(self.aims(x), list(blocks))
        return {"prediction": F.smooth_l1_loss(self.predicted(x, context, blocks), aim)}

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Patches that are seen [count, k], and patches of the targets [targets, count, m]: int64,
        drawn on the CPU so that all devices have the same."""
        side, number = math.isqrt(self.patches), self.targets_of_image
        area, ratio = self.target_area, _TARGET_RATIO
        blocks = draw_blocks(number * count, side, area, ratio, same_size=True)
        blocks = blocks.flatten(1).unflatten(0, (number, count))
        context = draw_blocks(count, side, self.context_area, (1, 1), same_size=True).flatten(1)
        few = (context & ~blocks.any(0)).sum(1) < _LEAST_SEEN * self.patches
        blocks[:, few] = blocks[0, few]
        seen = context & ~blocks.any(0)
        least = int(seen.sum(1).min())
        if not least:
            raise InputError(
                f"model.target_area: targets leave none of {self.patches} patches; give smaller "
                "targets, a larger model.context_area, or larger images"
            )
        order = torch.rand(count, self.patches).masked_fill(~seen, -1)
        kept = order.topk(least, 1).indices.sort(1).values
        hidden = blocks.flatten(0, 1).nonzero()[:, 1].view(number, count, -1)
        return kept.to(self.device), hidden.to(self.device)

    @torch.no_grad()
    def aims(self, x: Tensor) -> Tensor:
        """The teacher's patch tokens float32 [B, n, D] of whole images, each normalised."""
        with self.reduced_precision():
            tokens = self.teacher.encoder.network.forward_features(x)[:, self.masked.prefix :]
        return F.layer_norm(tokens.float(), tokens.shape[-1:])

    def predicted(self, x: Tensor, context: Tensor, blocks: Tensor) -> Tensor:
        """Tokens float32 [targets · B, m, D] of the targets, predicted from what is seen."""
        with self.reduced_precision():
            seen = self.masked.encode_patches(x, context)[:, self.masked.prefix :]
            tokens: Tensor = self.predictor(seen, context, list(blocks))
        return tokens.float()

    def shown(self, x: Tensor) -> dict[str, Tensor]:
        """The images, and what the encoder sees of them: the rest is grey."""
        context, _ = self.draw(len(x))
        size = self.encoder.network.patch_embed.patch_size[0]
        patches = utils.patchify(x, size)
        seen = utils.set_at_index(
            torch.zeros_like(patches), context, utils.get_at_index(patches, context)
        )
        return {"source": x, "context": utils.unpatchify(seen, size)}
