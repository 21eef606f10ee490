"""Warping by a flow: pictures, feature maps, and the flow's own inverse.

A flow [B, 2, h, w] holds, for each target position, how far away to look in the source, x then
y, in normalised grid units: -1 and 1 are the centres of the first and last pixel (aligned
corners). Sampling is bilinear, with zeros outside unless said otherwise. All of it runs in
float32, since a bfloat16 coordinate is wrong by up to a quarter of a pixel at 64 pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=16)
def _identity_grid(height: int, width: int, device: torch.device) -> Tensor:
    # Made outside inference mode: the cached grid serves training steps too.
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
    """Look up `x` [B, C, H, W] where `flow` [B, 2, h, w] points; float32 [B, C, H, W].

    Args:
        clamp: limit the flow to [-1, 1] after resizing it, as FaceCycle does for pictures but
            not for feature maps.
        padding: what there is outside: zeros, or the nearest pixel of the border.
    """
    with torch.autocast(x.device.type, enabled=False):
        height, width = x.shape[-2:]
        offset = resize_flow(flow.float(), (height, width))
        if clamp:
            offset = offset.clamp(-1, 1)
        grid = _identity_grid(height, width, x.device) + offset.permute(0, 2, 3, 1)
        return F.grid_sample(x.float(), grid, padding_mode=padding, align_corners=True)


def inverse_flow(flow: Tensor, steps: int | None = None) -> Tensor:
    """The inverse of `flow` [B, 2, h, w], whose warp undoes the flow's.

    FaceCycle's (ICCV 2021) is first-order: the flow warped by itself, clamped, negated. Exact for
    translations, where they stay inside the picture; it is 0 where the flow leaves it. Warped by a
    flow u of amplitude a and gradient g (largest norm of its Jacobian), then by this, a point lands
    at most 2·a·g off (at most a·g by -u itself); the exact inverse solves v(p) = -u(p + v(p)).

    Args:
        steps: if given, take this many fixed-point steps towards the exact inverse, starting from
            -u. Outside, the flow is that of the nearest border. Each step multiplies the error by
            g at most, so it converges where g is below 1.
    """
    if steps is not None:
        inverse = -flow.float()
        for _ in range(steps):
            inverse = -warp(flow, inverse, padding="border")
        return inverse
    return -warp(flow, flow).clamp(-1, 1)
