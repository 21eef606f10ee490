"""MAE: reconstruct masked patches from the visible ones.

He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022.
"""

from __future__ import annotations

import torch
from lightly.models import utils
from lightly.models.modules.masked_vision_transformer_decoder_timm import (
    MaskedVisionTransformerDecoderTIMM,
)
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import LayerCount, LayerWidth, OpenUnit
from ssl_faces.methods.encoder_method import ViewsMethod
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.methods.patch_blocks import MaskedViT, heads_of
from ssl_faces.networks.backbone import VIT_TINY, EncoderSettings

_EPSILON = 1e-6  # of the patches' variances


class MAE(ViewsMethod):
    """MAE on both images of each pair, for ViTs.

    Args:
        encoder: the encoder to train.
        optimizer: its optimiser.
        mask_share: share of masked patches.
        decoder_dim, decoder_depth: of the decoder (512 and 8 in the paper).

    Raises:
        InputError: the encoder is no ViT, or invalid settings.
    """

    name = "mae"

    def __init__(
        self,
        encoder: EncoderSettings = VIT_TINY,
        optimizer: OptimizerSettings = ADAMW,
        mask_share: OpenUnit = 0.75,
        decoder_dim: LayerWidth = 128,
        decoder_depth: LayerCount = 4,
    ) -> None:
        super().__init__(locals())
        self.masked = MaskedViT(self.encoder, self.name, needs_class_token=False)
        vit = self.encoder.network
        self.encoder.fix_positions()
        self.patch: int = vit.patch_embed.patch_size[0]
        self.patches: int = vit.patch_embed.num_patches
        self.mask_share = mask_share
        self.embed = nn.Linear(vit.embed_dim, decoder_dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            self.patches,
            decoder_dim,
            decoder_depth,
            num_heads=heads_of(decoder_dim, "decoder_dim"),
            num_prefix_tokens=vit.num_prefix_tokens,
        )
        self.predict = nn.Linear(decoder_dim, 3 * self.patch**2)

    def losses(self, x: Tensor) -> dict[str, Tensor]:
        kept, masked = self.draw(len(x))
        predicted = self.predicted(x, kept, masked)
        target = utils.get_at_index(utils.patchify(x, self.patch), masked)
        # Patches normalised to mean 0 and variance 1, as in the paper's best models.
        target = utils.normalize_mean_var(target, eps=_EPSILON)
        return {"reconstruction": (predicted - target).square().mean()}

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Indices of visible [count, k] and masked patches [count, n-k], drawn on the CPU so that
        all devices have the same."""
        kept, masked = utils.random_token_mask(
            (count, self.patches), self.mask_share, mask_class_token=True
        )
        if not kept.shape[1]:
            raise InputError(
                f"model.mask_share: {self.mask_share:g} leaves none of {self.patches} patches; "
                "lower it, or give larger images"
            )
        return kept.to(self.device), masked.to(self.device)

    def predicted(self, x: Tensor, kept: Tensor, masked: Tensor) -> Tensor:
        """The masked patches, normalised, predicted from the visible ones: float32
        [B, n-k, 3·patch²]."""
        prefix = self.masked.prefix
        with self.reduced_precision():
            seen = self.embed(self.masked.encode_patches(x, kept))
            empty = self.decoder.mask_token.to(seen.dtype)
            tokens = empty.expand(len(x), self.patches + prefix, -1)
            tokens = utils.set_at_index(tokens, self.masked.with_prefix(kept), seen)
            decoded = self.decoder(tokens)
            return self.predict(utils.get_at_index(decoded, masked + prefix)).float()

    def shown(self, x: Tensor) -> dict[str, Tensor]:
        """The images, with grey masked patches, and with predicted patches, which get the mean and
        variance of the source."""
        kept, masked = self.draw(len(x))
        predicted = self.predicted(x, kept, masked)
        patches = utils.patchify(x.float(), self.patch)
        hidden = utils.get_at_index(patches, masked)
        mean, variance = hidden.mean(-1, keepdim=True), hidden.var(-1, keepdim=True)
        restored = predicted * (variance + _EPSILON).sqrt() + mean
        shown = {
            "source": patches,
            "masked": utils.set_at_index(patches, masked, torch.zeros_like(hidden)),
            "reconstruction": utils.set_at_index(patches, masked, restored),
        }
        return {name: utils.unpatchify(value, self.patch) for name, value in shown.items()}
