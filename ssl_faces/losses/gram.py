"""Perceptual style loss: mean squared error of Gram matrices of trunk features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_faces.networks.trunk import Layer


def gram_matrix(features: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C, C] float32: inner products of channels, divided by H·W."""
    flat = features.flatten(2)
    # Divided inside the product: another pass over C x C maps is expensive.
    zero = flat.new_zeros(1, 1, 1)
    scale = 1 / flat.shape[-1]
    return torch.baddbmm(zero, flat, flat.transpose(1, 2), beta=0, alpha=scale).float()


class GramLoss(nn.Module):
    """Sum over layers of the MSE between Gram matrices; the target takes no gradient.

    FaceCycle's perceptual term (ICCV 2021; layers relu2_1, relu3_1, relu4_1).
    """

    def forward(self, prediction: Mapping[Layer, Tensor], target: Mapping[Layer, Tensor]) -> Tensor:
        """The loss, a scalar, of features by layer.

        Args:
            prediction: features of k·B images: k renderings of each target.
            target: features of B images.
        """
        total = next(iter(prediction.values())).new_zeros((), dtype=torch.float32)
        for layer, features in prediction.items():
            wanted = gram_matrix(target[layer].detach())
            predicted = gram_matrix(features).unflatten(0, (-1, wanted.shape[0]))
            total = total + F.mse_loss(predicted, wanted.expand_as(predicted))
        return total
