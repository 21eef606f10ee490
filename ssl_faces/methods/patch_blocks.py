"""Random blocks of a ViT's patches, and its tokens with some patches masked or left out."""

from __future__ import annotations

import math

import torch
from lightly.models.modules import MaskedVisionTransformerTIMM
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.networks.backbone import BackboneEncoder

HEAD_DIM = 32
"""Channels of an attention head in decoders and predictors."""


def draw_blocks(
    count: int,
    side: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    same_size: bool = False,
) -> Tensor:
    """One random rectangle of patches for each image, bool [count, side, side].

    Args:
        side: of the grid of patches.
        area: smallest and largest share of the patches; the side of a rectangle is rounded.
        ratio: smallest and largest ratio of its height to its width.
        same_size: all rectangles have the same height and width.
    """
    draws = torch.rand(2, 1 if same_size else count)  # on the CPU, so that all devices have them
    patches = side**2 * (area[0] + (area[1] - area[0]) * draws[0])
    shape = torch.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * draws[1])

    def stretch(length: Tensor) -> Tensor:
        length = length.sqrt().round().clamp(1, side)
        start = (torch.rand(count) * (side - length + 1)).floor()
        places = torch.arange(side)
        return (places >= start[:, None]) & (places < (start + length)[:, None])

    return stretch(patches * shape)[:, :, None] & stretch(patches / shape)[:, None]


class MaskedViT:
    """The encoder's ViT, some of whose patches are masked or left out; it shares the weights.

    It is no module, as the weights must not be registered twice.

    Args:
        method: its name, for the message.
        mask_token: [1, 1, D]; None if no patch is masked.
        needs_class_token: whether the method needs one.

    Raises:
        InputError: the encoder is no ViT, or has no class token.
    """

    def __init__(
        self,
        encoder: BackboneEncoder,
        method: str,
        mask_token: nn.Parameter | None = None,
        needs_class_token: bool = True,
    ) -> None:
        has_token = encoder.representation == "class_token"
        if not encoder.is_vit or (needs_class_token and not has_token):
            what = "needs a ViT with a class token" if needs_class_token else "needs a ViT"
            raise InputError(
                f"model.encoder.name: {encoder.config['name']}, but {method} {what}; set "
                "--model.encoder.name vit_tiny, vit_small or a ViT of timm"
            )
        vit = encoder.network
        if mask_token is None:
            mask_token = nn.Parameter(torch.zeros(1, 1, vit.embed_dim), requires_grad=False)
        self.prefix: int = vit.num_prefix_tokens
        self._masked = MaskedVisionTransformerTIMM(
            vit, mask_token, "skip", pos_embed_initialization="skip"
        )

    def with_prefix(self, patches: Tensor) -> Tensor:
        """Indices of tokens [B, prefix + k]: those before the patches, then patches [B, k]."""
        first = torch.arange(self.prefix, device=patches.device).expand(len(patches), -1)
        return torch.cat((first, patches + self.prefix), 1)

    def encode_patches(self, x: Tensor, patches: Tensor) -> Tensor:
        """Tokens [B, prefix + k, D] of normalised images that see only patches [B, k]."""
        tokens: Tensor = self._masked.encode(x, idx_keep=self.with_prefix(patches))
        return tokens

    def encode_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, prefix + n, D] of normalised images; masked patches, bool [B, side, side]."""
        hidden = nn.functional.pad(mask.flatten(1), (self.prefix, 0))
        tokens: Tensor = self._masked.encode(x, mask=hidden)
        return tokens


def heads_of(dim: int, setting: str) -> int:
    """Number of attention heads of `HEAD_DIM` channels. Raises InputError: `dim` is no multiple."""
    if dim % HEAD_DIM:
        raise InputError(f"model.{setting}: {dim}; give a multiple of {HEAD_DIM} (a head's)")
    return dim // HEAD_DIM
