"""Random blocks of a ViT's patches, and its tokens with some patches masked or left out."""

from __future__ import annotations

import math

import torch
from lightly.models.modules import MaskedVisionTransformerTIMM
from torch import Tensor, nn

from ssl_faces.common.errors import InputError
from ssl_faces.networks.backbone import BackboneEncoder


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


def masked_vit(
    encoder: BackboneEncoder, method: str, mask_token: nn.Parameter | None = None
) -> MaskedVisionTransformerTIMM:
    """The encoder's ViT with lightly's masking; it shares the weights.

    Args:
        mask_token: [1, 1, D]; None if no patch is masked.

    Raises:
        InputError: the encoder is no ViT with a class token.
    """
    if not encoder.is_vit or encoder.representation != "class_token":
        raise InputError(
            f"model.encoder.name: {encoder.config['name']}, but {method} needs a ViT with a class "
            "token; set --model.encoder.name vit_tiny, vit_small or a ViT of timm"
        )
    vit = encoder.network
    if mask_token is None:
        mask_token = nn.Parameter(torch.zeros(1, 1, vit.embed_dim), requires_grad=False)
    return MaskedVisionTransformerTIMM(vit, mask_token, "skip", pos_embed_initialization="skip")
