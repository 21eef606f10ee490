"""State shared by all parts of an image: pixels, solids, light, and windows.

Most parts of a face are small and are computed in a square window. A window covers all pixels that
its part can touch, so no pixel depends on the window's place or side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ssl_faces.rendered.camera import product
from ssl_faces.rendered.head import FAR, Head
from ssl_faces.rendered.shapes import Frame, Grid, Solid, solids


@dataclass(frozen=True)
class Window:
    """A square of each of N images."""

    top: Tensor  # int64 [N]
    left: Tensor
    side: int

    def take(self, maps: Tensor) -> Tensor:
        """A copy [N, ..., side, side] of the window of contiguous maps [N, S, S] or
        [N, C, S, S]."""
        if self.side == maps.shape[-1]:
            return maps.clone()
        lines = maps.view(-1).unfold(0, self.side, 1)
        return lines.index_select(0, self._lines(maps)).view(*maps.shape[:-2], self.side, self.side)

    def put(self, maps: Tensor, values: Tensor) -> None:
        """Write the values of a window back."""
        if self.side == maps.shape[-1]:
            maps.copy_(values)
            return
        lines = maps.view(-1).unfold(0, self.side, 1)
        lines.index_copy_(0, self._lines(maps), values.reshape(-1, self.side))

    def _lines(self, maps: Tensor) -> Tensor:
        """The start of each line of the window in the flat maps."""
        size = maps.shape[-1]
        planes = maps.numel() // (len(maps) * size * size)
        if planes not in self._starts:
            first = torch.arange(0, maps.numel(), size * size, device=maps.device)
            first = first.view(len(maps), planes) + (self.top * size + self.left)[:, None]
            self._starts[planes] = (first[..., None] + self._places * size).view(-1)
        return self._starts[planes]

    @cached_property
    def _places(self) -> Tensor:
        return torch.arange(self.side, device=self.top.device)

    @cached_property
    def _starts(self) -> dict[int, Tensor]:
        """Starts of lines by the number of planes; all maps of a stage have one size."""
        return {}

    def of(self, places: Tensor, begin: Tensor) -> Tensor:
        """Those of `places` [N, S] from `begin` [N] on: [N, side]."""
        if self.side == places.shape[-1]:
            return places
        return places.gather(1, begin[:, None] + self._places)


class Stage:
    """N faces in front of their cameras.

    Attributes:
        grid: [S], the pixels' centres from -1 to 1.
        across, down: [N, S], the same in the head's plane (y up), in half head heights.
        steep: [N, 1, 1], minus the pixels of half a head's height: the slope of coverage.
        light: [N, 3], direction to the light in the head's frame, scaled by its brightness.
        fill: [N, 1, 1], brightness without the light.
    """

    def __init__(self, factors: dict[str, Tensor], size: int) -> None:
        self.factors, self.size = factors, size
        self.head = head = Head(factors)
        device = head.zoom.device
        self.grid = (torch.arange(size, device=device) * 2 + (1 - size)).float() / size
        self.across = (self.grid - factors["shift_x"][:, None]) / factors["zoom"][:, None]
        self.down = (-self.grid - factors["shift_y"][:, None]) / factors["zoom"][:, None]
        self.steep = head.zoom * (-0.5 * size)
        azimuth, elevation = (
            factors[k].double() * (math.pi / 180) for k in ("light_azimuth", "light_elevation")
        )
        light = torch.stack(
            [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()],
            dim=-1,
        ).float()
        ambient = head.factors["ambient"]
        bright = 1.15 - ambient
        light = product(head.rotation.transpose(1, 2), light[..., None])[..., 0]
        self.light = light * (0.75 * bright[:, 0])
        self.ambient, self.fill = ambient, 0.25 * bright + ambient
        # Planes [6, N, 3] of x, y and z along the rays, and of their steps.
        turn = head.rotation.permute(2, 0, 1)
        sideways = turn[..., :2]
        steps = torch.cat([sideways / head.distance[:, 0], -turn[..., 2:]], dim=-1)
        starts = torch.cat([sideways, torch.zeros_like(turn[..., 2:])], dim=-1)
        self._space = torch.cat([starts, steps])
        # For `window`: rotation, camera and the picture's middle in pixels, y down.
        down = torch.tensor([1.0, -1.0, 1.0], device=device)[:, None]
        self._turn = [head.rotation[..., i].T * down for i in range(3)]
        self._distance = factors["camera_distance"]
        self._focal = factors["zoom"] * self._distance * (size / 2)
        shift = torch.stack([factors["shift_x"], -factors["shift_y"]])
        self._middle = (shift + 1) * (size / 2)

    def solids(self, *frames: Frame) -> list[Solid]:
        """Ellipsoids in the frame of cameras and light."""
        return solids(frames, self.head.rotation, self.head.distance, self.light)

    def pixels(self, window: Window | None = None) -> Grid:
        """The pixels of the whole picture or of a window."""
        if window is None:
            return Grid(self.across, self.down)
        return Grid(window.of(self.across, window.left), window.of(self.down, window.top))

    def places(self, grid: Grid, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Points (x, y, z) in the head's frame at `depth` along the rays of pixels."""
        x, y, z, dx, dy, dz = grid.planes(self._space)
        return x.addcmul_(dx, depth), y.addcmul_(dy, depth), z.addcmul_(dz, depth)

    def plane(self, grid: Grid, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Intersections of rays with the plane at z [N, 1, 1] of the head's frame: x, y, and t."""
        x, y, near, dx, dy, dz = grid.planes(self._space)
        # Rays nearly parallel to the plane don't intersect it.
        beside = torch.lt(dz.abs(), 0.02, out=torch.empty_like(dz))
        t = (z - near).div_(dz.sub_(dz * beside).sub_(beside, alpha=0.02))
        return x.addcmul_(dx, t), y.addcmul_(dy, t), t

    def window(
        self, x: Tensor | float, y: Tensor | float, z: Tensor | float, reach: Tensor | float
    ) -> Window:
        """The window of points within `reach` of (x, y, z) in the head's frame."""
        x, y, z, reach = (v.view(-1) if isinstance(v, Tensor) else v for v in (x, y, z, reach))
        at = self._turn[0] * x + self._turn[1] * y + self._turn[2] * z
        ahead = self._distance - at[2]
        radius = reach * self._focal / (ahead - reach)
        side = min(self.size, math.ceil(2 * float(radius.max())) + 4)
        corner = at[:2].mul_(self._focal / ahead).add_(self._middle).sub_(side / 2)
        left, top = corner.round_().clamp_(0, self.size - side).long().unbind()
        return Window(top, left, side)

    def lit(self, solid: Solid, grid: Grid, t: Tensor) -> Tensor:
        """Brightness of an ellipsoid's surface at t."""
        return self.brightness(solid.facing(grid, t))

    def brightness(self, facing: Tensor) -> Tensor:
        """Brightness from the scaled cosine between normal and light, in place."""
        return torch.maximum(facing.add_(self.fill), self.ambient, out=facing)

    def cover(self, closest: Tensor, radius: Tensor | float) -> Tensor:
        """Coverage of a pixel by a round shape, from a ray's squared distance, in place."""
        slope = self.steep * (0.5 * radius)
        return closest.mul_(slope).add_(0.5 - slope).clamp_(0, 1)


def nearest(depth: Tensor) -> Tensor:
    """Depth of the skin, or of its nearest point for rays that miss it."""
    passed = torch.gt(depth, 0.5 * FAR, out=torch.empty_like(depth))
    return torch.sub(depth, passed, alpha=FAR)
