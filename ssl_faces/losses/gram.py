"""Perceptual style loss: mean square error of Gram matrices of trunk features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.networks.trunk import Layer


def gram_matrix(features: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C, C] float32: inner products of channels, divided by H·W."""
    flat = features.flatten(2)
    # Divided inside the product: C x C maps are too large to pass over once more for it.
    nothing = flat.new_zeros(1, 1, 1)
    scale = 1 / flat.shape[-1]
    return torch.baddbmm(nothing, flat, flat.transpose(1, 2), beta=0, alpha=scale).float()


class GramLoss(nn.Module):
    """Sum over layers of the MSE between Gram matrices; the target takes no gradient.

    FaceCycle's perceptual term (ICCV 2021; layers relu2_1, relu3_1, relu4_1).
    """

    def forward(self, prediction: Mapping[Layer, Tensor], target: Mapping[Layer, Tensor]) -> Tensor:
        """Loss of `prediction` against `target`, both features by layer.

        Args:
            prediction: k·B pictures for B of the target: the target is repeated, so that k
                renderings of one batch are compared in one call.
        """
        total = next(iter(prediction.values())).new_zeros((), dtype=torch.float32)
        for layer, features in prediction.items():
            wanted = gram_matrix(target[layer].detach())
            got = gram_matrix(features).unflatten(0, (-1, wanted.shape[0]))
            total = total + F.mse_loss(got, wanted.expand_as(got))
        return total
