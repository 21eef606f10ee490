"""What is around the face: background, clothes, neck, glasses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ssl_faces.data.rendered.head import Head
from ssl_faces.data.rendered.paint import HUES, colour_of, edge, over, palette
from ssl_faces.data.rendered.shapes import Axes, frame_of


def lay_glasses(
    head: Head,
    picture: Tensor,
    rays: Callable[[tuple[Tensor, Tensor]], tuple[Axes, Axes]],
    head_t: Tensor,
    pixel: Tensor,
) -> Tensor:
    """Lay rims and a bridge, in a plane before the eyes, over the picture."""
    f = head.factors
    if not bool((f["glasses"] > 0).any()):
        return picture
    zero = torch.zeros_like(f["glasses"])
    (x, y, z), (dx, dy, dz) = rays(frame_of(zero, 0.0, 0.0, 1.0, 1.0, 1.0))
    plane = head._skin_z(head.eye_y) + 0.02
    t = (plane - z) / dz
    x, y = (x + t * dx).abs_(), y + t * dy - head.eye_y + 0.02
    rim_x, rim_y = (x - head.eye_x) / (head.eye_w + 0.06), y / 0.155
    ring = ((rim_x * rim_x + rim_y * rim_y).sqrt_() - 1).abs_() * 0.16 - 0.016
    inner = head.eye_x - head.eye_w - 0.06
    bridge = torch.maximum((y - 0.03).abs_() - 0.014, x - inner)
    arm = torch.maximum((y - 0.05).abs_() - 0.014, (x - head.half_width * 0.86).abs_() - 0.08)
    alpha = edge(torch.minimum(torch.minimum(ring, bridge), arm), pixel)
    alpha *= f["glasses"] * (t < head_t + 0.02).float()
    return over(picture, colour_of((0.13, 0.12, 0.13), picture.device), alpha)


def background(head: Head, across: Tensor, down: Tensor, grid: Tensor) -> Tensor:
    f = head.factors
    hue = palette(HUES, f["background_hue"].flatten())
    value = f["background_value"][:, None]
    colour = (0.55 + 0.45 * hue) * value
    slope = f["gradient_x"] * grid[None, None, :] - f["gradient_y"] * grid[None, :, None]
    picture = colour * (1 + slope[:, None])
    clothes = palette(HUES, f["clothes_hue"].flatten()) * (0.25 + 0.55 * f["ambient"][:, None])
    x, y = across[:, None, :] / 1.25, (down[:, :, None] + 2.0) / 0.85
    inside = edge((x * x + y * y - 1) * 0.5, 2 / (len(grid) * f["zoom"]))
    return over(picture, clothes, inside)


def neck_cover(head: Head, across: Tensor, down: Tensor, pixel: Tensor) -> Tensor:
    """Cover of the neck: a column that leans halfway to where the chin is."""
    chin = -head.rotation[:, 0, 1, None, None] * 0.6
    x = across[:, None, :] - chin * (1 + 0.35 * (down[:, :, None] + 1).clamp(-1, 0))
    side = x.abs() - 0.40 * (head.half_width / 0.75)
    return edge(torch.maximum(side, down[:, :, None] + 0.3), pixel) * edge(
        x * x * 1.1 - (down[:, :, None] + 1.42), pixel
    )
