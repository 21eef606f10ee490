"""Round shapes and the rays that meet them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Axes = tuple[Tensor, ...]


class Egg(NamedTuple):
    """Where rays meet the head."""

    t: Tensor  # along the ray, positive away from the camera
    x: Tensor  # of the hit, in the egg's own frame, where it is a unit sphere but for the taper
    y: Tensor
    z: Tensor
    lowest: Tensor  # of the surface's function along the ray: negative where the ray hits


class Ball(NamedTuple):
    """Where rays meet an ellipsoid; coordinates are in its frame, where it is the unit sphere."""

    t: Tensor
    x: Tensor
    y: Tensor
    z: Tensor
    closest: Tensor  # squared distance of the ray from the centre: below 1 where it hits
    exit_y: Tensor  # y where the ray leaves


def frame_of(
    x: Tensor | float,
    y: Tensor | float,
    z: Tensor | float,
    rx: Tensor | float,
    ry: Tensor | float,
    rz: Tensor | float,
    tilt: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The map that makes a unit sphere of the ellipsoid at (x, y, z) with these radii.

    Args:
        tilt: (y, z) of the unit vector along which `ry` is measured; upright where None.

    Returns:
        matrix [N, 3, 3] and offset [N, 3]: local = matrix @ head + offset.
    """
    numbers = [v for v in (x, y, z, rx, ry, rz) if isinstance(v, Tensor)]
    like = numbers[0]
    x, y, z, rx, ry, rz = (
        (v if isinstance(v, Tensor) else torch.full_like(like, v)).flatten()
        for v in (x, y, z, rx, ry, rz)
    )
    c, s = (v.flatten() for v in tilt) if tilt else (torch.ones_like(x), torch.zeros_like(x))
    zero = torch.zeros_like(x)
    rows = [1 / rx, zero, zero, zero, c / ry, s / ry, zero, -s / rz, c / rz]
    matrix = torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
    offset = torch.stack([-x / rx, -(c * y + s * z) / ry, -(c * z - s * y) / rz], dim=-1)
    return matrix, offset


def cast_egg(start: Axes, step: Axes, taper: Tensor) -> Egg:
    """First hit of the rays start + t step on (x² + z²)(1 - taper y) + y² = 1.

    The function is a cubic in t. Its least value says whether the ray hits; the root before that
    starts from the parabola there and is polished by two Newton steps.
    """
    (x, y, z), (dx, dy, dz) = start, step
    r2, r1, r0 = dx * dx + dz * dz, 2 * (x * dx + z * dz), x * x + z * z
    g1 = taper * dy
    g0 = 1 - taper * y
    c3 = -g1 * r2
    c2 = g0 * r2 - g1 * r1 + dy * dy
    c1 = g0 * r1 - g1 * r0 + 2 * (y * dy)
    c0 = g0 * r0 + y * y - 1
    root = (c2 * c2 - 3 * (c3 * c1)).clamp_(min=0).sqrt_()
    middle = -c1 / (c2 + root)
    lowest = ((c3 * middle + c2) * middle + c1) * middle + c0
    t = middle - ((-lowest).clamp_(min=0) / root).sqrt_()
    hit = lowest < 0
    for _ in range(2):
        value = ((c3 * t + c2) * t + c1) * t + c0
        slope = ((3 * t) * c3 + 2 * c2) * t + c1
        t = torch.where(hit, t - value / slope.clamp_(max=-0.02), t)
    return Egg(t, x + t * dx, y + t * dy, z + t * dz, lowest)


def cast_ball(start: Axes, step: Axes) -> Ball:
    """First hit of the rays start + t step on the unit sphere (the closest point of misses)."""
    (x, y, z), (dx, dy, dz) = start, step
    a = dx * dx + dy * dy + dz * dz
    middle = (x * dx + y * dy + z * dz).div_(a).neg_()
    closest = (x * x + y * y + z * z).sub_(middle * middle * a)
    half = ((1 - closest).clamp_(min=0) / a).sqrt_()
    t = middle - half
    return Ball(t, x + t * dx, y + t * dy, z + t * dz, closest, y + (middle + half) * dy)


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product of [N, I, 3] and [N, 3, J] as a written-out sum: the same in any batch."""
    return (
        a[..., 0, None] * b[..., None, 0, :]
        + a[..., 1, None] * b[..., None, 1, :]
        + a[..., 2, None] * b[..., None, 2, :]
    )
