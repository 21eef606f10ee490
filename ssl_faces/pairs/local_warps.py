"""Random flows: smooth local bumps that change a face's expression, affine maps that don't.

Flows are as `ssl_faces.networks.warp` has them: [n, 2, S, S], x then y, in normalised grid units,
of which 2 are a side. Draws are made on the CPU, so that every device has the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_faces.common.ranges import (
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    UnitBelow1,
    UnitFloat,
    check_fields,
    check_order,
)


@dataclass(frozen=True)
class LocalWarps:
    """How strong local warps are; lengths in normalised grid units, of which 2 are a side.

    A bump moves what is at its centre by its shift, and what is at r from it by exp(-r²/2σ²) of
    that. It folds nothing where the shift is below 1.65·σ.

    Attributes:
        bumps: how many on a face.
        reach: centres are at most so far from the picture's, across and down.
        shift: smallest and largest shift, of random direction.
        sigma: smallest and largest σ.
    """

    bumps: PositiveInt = 4
    reach: UnitFloat = 0.6
    shift: tuple[PositiveFloat, PositiveFloat] = (0.06, 0.16)
    sigma: tuple[PositiveFloat, PositiveFloat] = (0.16, 0.32)

    def __post_init__(self) -> None:
        check_fields(self, "model.local")
        check_order(self, ("shift", "sigma"), "model.local")

    def draw(self, count: int, size: int) -> Tensor:
        """`count` random flows [count, 2, size, size], on the CPU."""
        n, k = count, self.bumps
        centres = self.reach * (2 * torch.rand(n, k, 2) - 1)
        angle = 2 * math.pi * torch.rand(n, k)
        length = _between(self.shift, torch.rand(n, k))
        shifts = length[..., None] * torch.stack((angle.cos(), angle.sin()), -1)
        return bump_flow(centres, shifts, _between(self.sigma, torch.rand(n, k)), size)


@dataclass(frozen=True)
class AffineMaps:
    """How strong random affine maps are.

    Attributes:
        turn: largest rotation, in degrees, either way.
        scale: largest change of size, as a share.
        shear: largest shear.
        move: largest shift across and down, in normalised grid units.
    """

    turn: NonNegativeFloat = 12.0
    scale: UnitBelow1 = 0.1
    shear: NonNegativeFloat = 0.1
    move: NonNegativeFloat = 0.1

    def __post_init__(self) -> None:
        check_fields(self, "model.affine")

    def draw(self, count: int) -> Tensor:
        """`count` random affine maps [count, 2, 3], on the CPU."""
        turn, scale, shear, across, down = (2 * torch.rand(count, 5) - 1).unbind(1)
        turn = math.radians(self.turn) * turn
        sized = 1 + self.scale * scale
        cos, sin = sized * turn.cos(), sized * turn.sin()
        shear = self.shear * shear
        rows = (cos, cos * shear - sin, self.move * across, sin, sin * shear + cos)
        return torch.stack((*rows, self.move * down), 1).view(count, 2, 3)


def bump_flow(centres: Tensor, shifts: Tensor, sigmas: Tensor, size: int) -> Tensor:
    """Flows [n, 2, size, size], each the sum of k Gaussian bumps.

    Args:
        centres: [n, k, 2], x then y.
        shifts: [n, k, 2], what is added to where the centre looks.
        sigmas: [n, k].
    """
    places = torch.linspace(-1, 1, size)
    # A Gaussian of both is the product of one of each.
    across, down = (
        torch.exp(-((places - centres[..., axis, None]) ** 2) / (2 * sigmas[..., None] ** 2))
        for axis in (0, 1)
    )
    return torch.einsum("nkd,nky,nkx->ndyx", shifts, down, across)


def then_affine(flow: Tensor, maps: Tensor) -> Tensor:
    """The flow that looks where affine `maps` [n, 2, 3] take what `flow` [n, 2, S, S] looks at.

    One resampling then does both; with a flow of 0 it is the affine map's own.
    """
    size = flow.shape[-1]
    places = torch.linspace(-1, 1, size, device=flow.device)
    grid = torch.stack((places.expand(size, size), places[:, None].expand(size, size)))
    looked = grid + flow
    maps = maps.to(flow)
    return torch.einsum("nij,njyx->niyx", maps[..., :2], looked) + maps[..., 2, None, None] - grid


def _between(ends: tuple[float, float], uniform: Tensor) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * uniform
