"""Warp images and feature maps by a flow, and invert flows.

A flow [B, 2, h, w] holds the offset from each target position to the source position, x then y, in
normalised grid units: -1 and 1 are the centres of the first and last pixel (aligned corners).
Sampling is bilinear, by default with zeros outside. Everything runs in float32: a bfloat16
coordinate is off by up to a quarter of a pixel at 64 pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=16)
def _identity_grid(height: int, width: int, device: torch.device) -> Tensor:
    # Not in inference mode: training uses the cached grid too.
    with torch.inference_mode(False):
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, height, device=device),
            torch.linspace(-1, 1, width, device=device),
            indexing="ij",
        )
        return torch.stack((x, y), dim=-1)[None]


def resize_flow(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow [B, 2, h, w] to [B, 2, *size], bilinear with aligned corners."""
    if flow.shape[-2:] == size:
        return flow
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=True)


def warp(
    x: Tensor,
    flow: Tensor,
    *,
    clamp: bool = False,
    padding: Literal["zeros", "border"] = "zeros",
) -> Tensor:
    """Sample `x` [B, C, H, W] at the positions of `flow` [B, 2, h, w]; float32 [B, C, H, W].

    Args:
        clamp: limit the resized flow to [-1, 1], as FaceCycle does for images, not for maps.
        padding: values outside: zeros, or the nearest pixel of the border.
    """
    with torch.autocast(x.device.type, enabled=False):
        height, width = x.shape[-2:]
        offset = resize_flow(flow.float(), (height, width))
        if clamp:
            offset = offset.clamp(-1, 1)
        grid = _identity_grid(height, width, x.device) + offset.permute(0, 2, 3, 1)
        return F.grid_sample(x.float(), grid, padding_mode=padding, align_corners=True)


def inverse_flow(flow: Tensor, steps: int | None = None) -> Tensor:
    """The inverse of `flow` [B, 2, h, w]: its warp undoes that of the flow.

    FaceCycle's inverse (ICCV 2021) is first-order: the flow warped by itself, clamped, negated. It
    is exact for translations inside the image and 0 where the flow leaves it. For a flow u with
    amplitude a and gradient g (largest norm of its Jacobian) the error is at most 2·a·g (at most
    a·g for -u). The exact inverse solves v(p) = -u(p + v(p)).

    Args:
        steps: number of fixed-point steps towards the exact inverse, starting from -u with border
            padding; None for FaceCycle's. Each step multiplies the error by at most g.
    """
    if steps is not None:
        inverse = -flow.float()
        for _ in range(steps):
            inverse = -warp(flow, inverse, padding="border")
        return inverse
    return -warp(flow, flow).clamp(-1, 1)
