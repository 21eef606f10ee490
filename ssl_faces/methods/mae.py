"""MAE: reconstruct masked patches from the visible ones.

He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightly.models import utils
from lightly.models.modules import MaskedVisionTransformerTIMM
from lightly.models.modules.masked_vision_transformer_decoder_timm import (
    MaskedVisionTransformerDecoderTIMM,
)
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.common.ranges import LayerCount, LayerWidth, OpenUnit
from ssl_faces.methods.encoder_method import ViewsMethod
from ssl_faces.methods.optimizer import ADAMW, OptimizerSettings
from ssl_faces.networks.backbone import VIT_TINY, EncoderSettings

_HEAD_DIM = 32
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
        if not self.encoder.is_vit:
            raise InputError(
                f"model.encoder.name: {encoder.name}, but mae leaves patches out, which only ViTs "
                "can; set --model.encoder.name vit_tiny, vit_small or a ViT of timm"
            )
        if decoder_dim % _HEAD_DIM:
            raise InputError(
                f"model.decoder_dim: {decoder_dim}; give a multiple of {_HEAD_DIM} (a head's)"
            )
        vit = self.encoder.network
        self.encoder.fix_positions()
        self.patch: int = vit.patch_embed.patch_size[0]
        self.patches: int = vit.patch_embed.num_patches
        self.mask_share = mask_share
        # In a tuple: its parameters are the encoder's and must not be registered twice.
        self._masked = (
            MaskedVisionTransformerTIMM(
                vit,
                mask_token=nn.Parameter(torch.zeros(1, 1, vit.embed_dim), requires_grad=False),
                pos_embed_initialization="skip",
            ),
        )
        self.embed = nn.Linear(vit.embed_dim, decoder_dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            self.patches,
            decoder_dim,
            decoder_depth,
            num_heads=decoder_dim // _HEAD_DIM,
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
        prefix = self.encoder.network.num_prefix_tokens
        kept = torch.cat(
            (torch.arange(prefix, device=x.device).expand(len(x), -1), kept + prefix), 1
        )
        with self.reduced_precision():
            seen = self.embed(self._masked[0].encode(x, idx_keep=kept))
            empty = self.decoder.mask_token.to(seen.dtype)
            tokens = empty.expand(len(x), self.patches + prefix, -1)
            tokens = utils.set_at_index(tokens, kept, seen)
            decoded = self.decoder(tokens)
            return self.predict(utils.get_at_index(decoded, masked + prefix)).float()

    @torch.no_grad()
    def panels(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """Images [2b, 3, S, S] in [0, 1], with grey masked patches, and with predicted patches,
        which get the mean and variance of the source."""
        x = self.views(batch)
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
        return {
            name: self.encoder.denormalise(utils.unpatchify(value, self.patch))
            for name, value in shown.items()
        }
