"""Round shapes and the rays that meet them.

Per-pixel arithmetic is +, -, ×, ÷, √, comparison, each its own exactly rounded operation, so that
a pixel is the same whatever is computed beside it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

Axes = tuple[Tensor, Tensor, Tensor]


class Rays(NamedTuple):
    """Rays start + t step in the head's frame; [N, H, W] each, t = 0 in the plane through the
    head's centre, positive away from the camera."""

    start: Axes
    step: Axes


class Egg(NamedTuple):
    """Where rays meet the head."""

    t: Tensor
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
    half: Tensor  # from the middle of the ray's way through it to either end, in t


class Frame(NamedTuple):
    """An ellipsoid of the head's frame; numbers are [N, 1, 1]."""

    centre: Axes
    radii: Axes
    tilt: tuple[Tensor, Tensor] | None = None
    """(y, z) of the unit vector along which the second radius is measured; upright where None."""

    def rays(self, rays: Rays) -> tuple[Axes, Axes]:
        """Starts and steps in the frame in which the ellipsoid is the unit sphere."""
        (x, y, z), (dx, dy, dz) = rays
        x, y, z = (v - c for v, c in zip((x, y, z), self.centre, strict=True))
        if self.tilt is not None:
            c, s = self.tilt
            y, z, dy, dz = c * y + s * z, c * z - s * y, c * dy + s * dz, c * dz - s * dy
        a, b, c = (1 / r for r in self.radii)
        return (x * a, y * b, z * c), (dx * a, dy * b, dz * c)

    def normal(self, x: Tensor, y: Tensor, z: Tensor) -> Axes:
        """A gradient in the ellipsoid's frame as one in the head's frame, not normalised."""
        x, y, z = (v / r for v, r in zip((x, y, z), self.radii, strict=True))
        if self.tilt is not None:
            c, s = self.tilt
            y, z = c * y - s * z, s * y + c * z
        return x, y, z


def frame(
    centre: tuple[Tensor | float, Tensor | float, Tensor | float],
    radii: tuple[Tensor | float, Tensor | float, Tensor | float],
    tilt: tuple[Tensor, Tensor] | None = None,
) -> Frame:
    """A `Frame` of numbers, at least one of them [N, 1, 1]."""
    like = next(v for v in (*centre, *radii) if isinstance(v, Tensor))

    def whole(values: tuple[Tensor | float, Tensor | float, Tensor | float]) -> Axes:
        x, y, z = (v if isinstance(v, Tensor) else torch.full_like(like, v) for v in values)
        return x, y, z

    return Frame(whole(centre), whole(radii), tilt)


def cast_egg(start: Axes, step: Axes, taper: Tensor) -> Egg:
    """First hit of the rays start + t step on (x² + z²)(1 - taper y) + y² = 1.

    The function is a cubic in t. Its least value says whether the ray hits; the root before that
    starts from the parabola there and is polished by two Newton steps.
    """
    (x, y, z), (dx, dy, dz) = start, step
    r2 = (dx * dx).add_(dz * dz)
    r1 = (x * dx).add_(z * dz).mul_(2)
    r0 = (x * x).add_(z * z)
    g1 = taper * dy
    g0 = (taper * y).neg_().add_(1)
    c3 = (g1 * r2).neg_()
    c2 = (g0 * r2).sub_(g1 * r1).add_(dy * dy)
    c1 = (g0 * r1).sub_(g1.mul_(r0)).add_((y * dy).mul_(2))
    c0 = g0.mul_(r0).add_(y * y).sub_(1)
    root = (c2 * c2).sub_((c3 * c1).mul_(3)).clamp_(min=0).sqrt_()
    middle = (c1 / (c2 + root)).neg_()
    lowest = (c3 * middle).add_(c2).mul_(middle).add_(c1).mul_(middle).add_(c0)
    t = (lowest.neg().clamp_(min=0).div_(root)).sqrt_().neg_().add_(middle)
    hit = lowest < 0
    steep = c2 * 2
    c3_3 = c3 * 3
    for _ in range(2):
        value = (c3 * t).add_(c2).mul_(t).add_(c1).mul_(t).add_(c0)
        slope = (c3_3 * t).add_(steep).mul_(t).add_(c1).clamp_(max=-0.02)
        t = torch.where(hit, t - value.div_(slope), t)
    return Egg(t, (t * dx).add_(x), (t * dy).add_(y), (t * dz).add_(z), lowest)


def cast_ball(start: Axes, step: Axes) -> Ball:
    """First hit of the rays start + t step on the unit sphere (the closest point of misses)."""
    (x, y, z), (dx, dy, dz) = start, step
    a = (dx * dx).add_(dy * dy).add_(dz * dz)
    middle = (x * dx).add_(y * dy).add_(z * dz).div_(a).neg_()
    closest = (x * x).add_(y * y).add_(z * z).sub_((middle * middle).mul_(a))
    half = (1 - closest).clamp_(min=0).div_(a).sqrt_()
    t = middle - half
    return Ball(t, (t * dx).add_(x), (t * dy).add_(y), (t * dz).add_(z), closest, half)
