"""Round shapes and their intersections with rays.

Per-pixel arithmetic uses +, -, ×, ÷, √, rounding, comparison and a × b + c, each applied to every
pixel separately, so that a pixel does not depend on others. It is bound by memory: functions that
are linear or quadratic in a pixel's place are stored as coefficients (`Grid`), and `where`,
booleans and `remainder` are avoided, since they cost several times the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Axes = tuple[Tensor, Tensor, Tensor]


class Rays(NamedTuple):
    """Rays start + t step in the head's frame; [N, H, W] each, t = 0 in the plane through the
    head's centre, positive away from the camera."""

    start: Axes
    step: Axes


class Grid(NamedTuple):
    """Places (a, b) of pixels in the head's plane: a by column, b by row."""

    across: Tensor  # [N, W]
    down: Tensor  # [N, H]

    def planes(self, terms: Tensor) -> tuple[Tensor, ...]:
        """Maps [N, H, W] of p a + q b + r, for K (p, q, r) in `terms` [K, N, 3]."""
        p, q, r = terms[..., None].unbind(2)
        row, column = p * self.across, (q * self.down).add_(r)
        return (row[:, :, None] + column[..., None]).unbind()

    def forms(self, terms: Tensor) -> tuple[Tensor, ...]:
        """Maps [N, H, W] of K quadratic forms [K, N, 6] of `product`."""
        aa, ab, bb, a, b, c = terms[..., None].unbind(2)
        row = (aa * self.across).add_(a).mul_(self.across)
        column = (bb * self.down).add_(b).mul_(self.down).add_(c)
        cross = (ab * self.down)[..., None]
        maps = torch.addcmul(row[:, :, None], self.across[:, None], cross)
        return maps.add_(column[..., None]).unbind()


def product(one: Tensor, other: Tensor) -> Tensor:
    """The terms [..., 6] of a², a b, b², a, b and 1 in the product of planes [..., 3]."""
    (p, q, r), (s, t, u) = one.unbind(-1), other.unbind(-1)
    return torch.stack([p * s, p * t + q * s, q * t, p * u + r * s, q * u + r * t, r * u], dim=-1)


class Hit(NamedTuple):
    """Intersections of rays with an ellipsoid."""

    t: Tensor
    closest: Tensor  # squared distance of the ray from the centre: below 1 for hits
    middle: Tensor  # t of the middle between entry and exit


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


class Solid(NamedTuple):
    """An ellipsoid seen by a camera and a light: terms for `Grid` in the frame in which it is the
    unit sphere."""

    start: Tensor  # planes [3, N, 3] of the rays
    step: Tensor
    ray: Tensor  # forms [3, N, 6]: step², -start · step, (start × step)²
    normal: Tensor  # forms [3, N, 6] of the normal's squared length, by power of t
    light: Tensor  # planes [2, N, 3] of normal · light, by power of t

    def hit(self, grid: Grid) -> Hit:
        """First hit of the rays (the closest point of misses)."""
        squared, middle, closest = grid.forms(self.ray)
        inverse = squared.reciprocal_()
        middle, closest = middle.mul_(inverse), closest.mul_(inverse)
        half = (1 - closest).clamp_(min=0).mul_(inverse).sqrt_()
        return Hit(middle - half, closest, middle)

    def places(self, grid: Grid, axes: slice, *t: Tensor) -> list[Tensor]:
        """Coordinates in the ellipsoid's frame of the rays at each of `t`, axis by axis."""
        starts, steps = grid.planes(self.start[axes]), grid.planes(self.step[axes])
        return [
            torch.addcmul(start, step, at)
            for at in t
            for start, step in zip(starts, steps, strict=True)
        ]

    def facing(self, grid: Grid, t: Tensor) -> Tensor:
        """Cosine between the normal and the light, times the light's length, at t."""
        cosine, slope = grid.planes(self.light)
        n0, n1, n2 = grid.forms(self.normal)
        length = n0.addcmul_(n1.addcmul_(n2, t), t).sqrt_()
        return cosine.addcmul_(slope, t).div_(length)


def solids(
    frames: Sequence[Frame], rotation: Tensor, distance: Tensor, light: Tensor
) -> list[Solid]:
    """Ellipsoids seen by N cameras.

    Args:
        frames: F of them.
        rotation: [N, 3, 3], from the head's frame to the camera's.
        distance: [N, 1, 1], the camera's.
        light: [N, 3], in the head's frame, of any length.
    """
    centre, radii = (
        torch.stack([torch.cat(axes, dim=2)[:, 0] for axes in which]).double()
        for which in ([f.centre for f in frames], [f.radii for f in frames])
    )
    like = distance[:, 0].double()
    upright = (torch.ones_like(like), torch.zeros_like(like))
    c, s = (
        torch.stack([upright[i] if f.tilt is None else f.tilt[i][:, 0].double() for f in frames])
        for i in range(2)
    )
    rows = torch.cat([rotation, light[:, None]], dim=1).double().expand(len(frames), -1, -1, -1)
    x, y, z = torch.cat([rows, -centre[:, :, None]], dim=2).unbind(-1)
    local = torch.stack([x, c * y + s * z, c * z - s * y], dim=-1) / radii[:, :, None]
    right, up, near, shine, origin = local.unbind(2)  # [F, N, 3] each
    start = torch.stack([right, up, origin], dim=-1)  # [F, N, axis, term]
    step = torch.stack([right / like, up / like, -near], dim=-1)
    # The terms of second degree of start × step cancel.
    beside = torch.linalg.cross(
        torch.stack([right, up, origin, origin, origin], dim=2),
        torch.stack([-near, -near, right / like, up / like, -near], dim=2),
    )
    beside = torch.stack(
        [beside[:, :, 0] + beside[:, :, 2], beside[:, :, 1] + beside[:, :, 3], beside[:, :, 4]], -1
    )
    wide = radii[..., None]
    first, slope = start / wide, step / wide
    forms = product(
        torch.stack([step, -start, beside, first, 2 * first, slope]),
        torch.stack([step, step, beside, first, slope, slope]),
    )
    forms = (forms[..., 0, :] + forms[..., 1, :] + forms[..., 2, :]).float()
    shine = shine[..., None]
    lights = torch.stack([start, step]) * shine
    lights = (lights[..., 0, :] + lights[..., 1, :] + lights[..., 2, :]).float()
    starts, steps = (v.float().permute(0, 2, 1, 3) for v in (start, step))
    return [
        Solid(starts[i], steps[i], forms[:3, i], forms[3:, i], lights[:, i])
        for i in range(len(frames))
    ]


def cast_egg(start: Axes, step: Axes, taper: Tensor) -> tuple[Tensor, Tensor]:
    """First hit t of the rays start + t step on (x² + z²)(1 - taper y) + y² = 1, and the least
    value along the ray, as in `first_root`."""
    (x, y, z), (dx, dy, dz) = start, step
    r2, r1, r0 = dx * dx + dz * dz, (x * dx + z * dz) * 2, x * x + z * z
    g1, g0 = -taper * dy, 1 - taper * y
    c1 = g0 * r1 + g1 * r0 + 2 * y * dy
    return first_root(g1 * r2, g0 * r2 + g1 * r1 + dy * dy, c1, g0 * r0 + y * y - 1)


def first_root(c3: Tensor, c2: Tensor, c1: Tensor, c0: Tensor) -> tuple[Tensor, Tensor]:
    """First root t of the cubic c3 t³ + c2 t² + c1 t + c0 of an egg along a ray, and its minimum.

    The ray hits if the minimum is negative; otherwise t is the place of the minimum. The root
    starts from the parabola at the minimum and is refined by two Newton steps.
    """
    root = (c2 * c2).addcmul_(c3, c1, value=-3).clamp_(min=0).sqrt_()
    middle = (c1 / (c2 + root)).neg_()
    lowest = torch.addcmul(c2, c3, middle).mul_(middle).add_(c1).mul_(middle).add_(c0)
    t = lowest.neg().clamp_(min=0).div_(root).sqrt_().neg_().add_(middle)
    hit = torch.lt(lowest, 0, out=root)
    steep, steeper = c2 * 2, c3 * 3
    for _ in range(2):
        value = torch.addcmul(c2, c3, t).mul_(t).add_(c1).mul_(t).add_(c0).mul_(hit)
        slope = torch.addcmul(steep, steeper, t).mul_(t).add_(c1).clamp_(max=-0.02)
        t.sub_(value.div_(slope))
    return t, lowest


def cast_ball(start: Axes, step: Axes) -> tuple[Tensor, Tensor]:
    """First hit t of the rays start + t step on the unit sphere (the closest point of misses), and
    the ray's squared distance from its centre."""
    (x, y, z), (dx, dy, dz) = start, step
    a = dx * dx + dy * dy + dz * dz
    middle = -(x * dx + y * dy + z * dz) / a
    closest = x * x + y * y + z * z - middle * middle * a
    return middle - ((1 - closest).clamp(min=0) / a).sqrt(), closest
