"""What all parts of a picture share: pixels, rays, light, and windows of the picture.

Most parts of a face are small: each is computed in a square window around it. A window covers all
that its part can touch, so that no pixel depends on the window's place or side.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_faces.data.rendered.camera import product
from ssl_faces.data.rendered.head import Head
from ssl_faces.data.rendered.shapes import Axes, Rays


class Window(NamedTuple):
    """A square of each of N pictures."""

    top: Tensor  # int64 [N]
    left: Tensor
    side: int

    def take(self, maps: Tensor) -> Tensor:
        """A copy [N, ..., side, side] of the window of maps [N, S, S] or [N, C, S, S]."""
        views = maps.unfold(-2, self.side, 1).unfold(-2, self.side, 1)
        faces = torch.arange(len(maps), device=maps.device)
        if maps.ndim == 3:
            return views[faces, self.top, self.left]
        return views[faces, :, self.top, self.left]

    def put(self, maps: Tensor, values: Tensor) -> None:
        """Write what `take` gave back."""
        views = maps.unfold(-2, self.side, 1).unfold(-2, self.side, 1)
        faces = torch.arange(len(maps), device=maps.device)
        if maps.ndim == 3:
            views[faces, self.top, self.left] = values
        else:
            views[faces, :, self.top, self.left] = values


class Stage:
    """N faces before their cameras.

    Attributes:
        grid: [S], the pixels' centres from -1 to 1.
        across, down: [N, S], the same in the head's plane (y up), in half head heights.
        pixel: [N, 1, 1], a pixel's side there.
    """

    def __init__(self, factors: dict[str, Tensor], size: int) -> None:
        self.factors, self.size = factors, size
        self.head = Head(factors)
        device = self.head.zoom.device
        self.grid = (torch.arange(size, device=device) * 2 + (1 - size)).float() / size
        self.across = (self.grid - factors["shift_x"][:, None]) / factors["zoom"][:, None]
        self.down = (-self.grid - factors["shift_y"][:, None]) / factors["zoom"][:, None]
        self.pixel = 2 / (size * self.head.zoom)
        azimuth, elevation = (
            factors[k].double() * (math.pi / 180) for k in ("light_azimuth", "light_elevation")
        )
        light = torch.stack(
            [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()],
            dim=-1,
        ).float()
        light = product(self.head.rotation.transpose(1, 2), light[..., None])
        self.light = light[..., None].unbind(1)  # in the head's frame

    def rays(self, window: Window | None = None) -> Rays:
        """One ray a pixel."""
        across, down = self.across, self.down
        if window is not None:
            places = torch.arange(window.side, device=across.device)
            across = across.gather(1, window.left[:, None] + places)
            down = down.gather(1, window.top[:, None] + places)
        start, step = [], []
        for i in range(3):
            turn = self.head.rotation[:, :, i, None]
            plane = (turn[:, 0] * across)[:, None, :] + (turn[:, 1] * down)[:, :, None]
            start.append(plane)
            step.append((plane / self.head.distance).sub_(turn[:, 2, :, None]))
        return Rays((start[0], start[1], start[2]), (step[0], step[1], step[2]))

    def window(
        self, x: Tensor | float, y: Tensor | float, z: Tensor | float, reach: Tensor | float
    ) -> Window:
        """The window of all within `reach` of the point (x, y, z) of the head's frame."""
        head = self.head
        like = head.zoom
        point = torch.cat([v + torch.zeros_like(like) for v in (x, y, z)], dim=1)
        at = product(head.rotation, point)
        zoom, distance = head.zoom[:, 0], head.distance[:, 0]
        scale = zoom * distance / (distance - at[:, 2])
        centre_x = (at[:, 0] * scale + self.factors["shift_x"][:, None] + 1) * (self.size / 2)
        centre_y = (1 - at[:, 1] * scale - self.factors["shift_y"][:, None]) * (self.size / 2)
        reach = (reach + torch.zeros_like(like))[:, 0]
        radius = reach * zoom * distance / (distance - at[:, 2] - reach) * (self.size / 2)
        side = min(self.size, math.ceil(2 * float(radius.max())) + 4)

        def corner(centre: Tensor) -> Tensor:
            return (centre[:, 0] - side / 2).round().clamp(0, self.size - side).long()

        return Window(corner(centre_y), corner(centre_x), side)

    def lit(self, normal: Axes) -> Tensor:
        """Brightness of a surface from its normal in the head's frame, of any length."""
        (x, y, z), (lx, ly, lz) = normal, self.light
        cosine = (x * lx).add_(y * ly).add_(z * lz)
        cosine.div_((x * x).add_(y * y).add_(z * z).sqrt_())
        ambient = self.head.factors["ambient"]
        return cosine.mul_(0.75).add_(0.25).clamp_(min=0).mul_(1.15 - ambient).add_(ambient)

    def cover(self, closest: Tensor, radius: Tensor | float) -> Tensor:
        """Share of a pixel covered by a round shape, from a ray's squared distance."""
        return (1 - closest).mul_(0.5 * radius / self.pixel).add_(0.5).clamp_(0, 1)
