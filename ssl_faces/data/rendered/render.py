"""Rendering: one ray a pixel against the head, the face laid on its surface."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ssl_faces.data.rendered.camera import CAMERA_DISTANCE
from ssl_faces.data.rendered.factors import check_size, complete_factors
from ssl_faces.data.rendered.head import Head
from ssl_faces.data.rendered.paint import HAIR, SKIN, edge, over, palette
from ssl_faces.data.rendered.sampling import uniform
from ssl_faces.data.rendered.scene import background, lay_glasses, neck_cover
from ssl_faces.data.rendered.shapes import Axes, cast_ball, cast_egg, product
from ssl_faces.data.rendered.skin import face_colours

_CHUNK = 16  # faces rendered at once: their maps fit the processor's cache
_NOISE = 1 << 16


def render_faces(factors: Mapping[str, Tensor], size: int = 64) -> Tensor:
    """Render faces from their factors.

    A face's pixels depend on its own factors and `size` alone, not on the batch it is in.

    Args:
        factors: any of `FACTORS`, float [N] each, all on one device; the rest take their default.
        size: picture side S in pixels.

    Returns:
        uint8 [N, 3, S, S], RGB, on the factors' device.

    Raises:
        InputError: unknown factor, unequal lengths, values that are not finite, bad size.
    """
    check_size(size)
    complete = complete_factors(factors)
    count = len(complete["yaw"])
    pictures = torch.empty((count, 3, size, size), dtype=torch.uint8, device=complete["yaw"].device)
    with torch.no_grad():
        chunk = _CHUNK if pictures.device.type == "cpu" else 32 * _CHUNK
        for start in range(0, count, chunk):
            part = {name: value[start : start + chunk] for name, value in complete.items()}
            pictures[start : start + chunk] = _render(part, size)
    return pictures


def _render(factors: dict[str, Tensor], size: int) -> Tensor:
    """Pictures uint8 [N, 3, S, S] of complete factors.

    Per-pixel arithmetic is +, -, ×, ÷, √, comparison, each its own exactly rounded operation, so
    that a pixel is the same whatever is computed beside it.
    """
    head = Head(factors)
    f, rotation = head.factors, head.rotation
    device = rotation.device
    grid = (torch.arange(size, device=device) * 2 + 1).float() / size - 1
    across = (grid - factors["shift_x"][:, None]) / factors["zoom"][:, None]
    down = (-grid - factors["shift_y"][:, None]) / factors["zoom"][:, None]
    pixel = 2 / (size * f["zoom"])  # a pixel's side at the head's centre

    def rays(frame: tuple[Tensor, Tensor]) -> tuple[Axes, Axes]:
        """Rays in a shape's frame: at t = 0 in the plane through the head's centre."""
        matrix, offset = frame
        matrix = product(matrix, rotation.transpose(1, 2))
        start, step = [], []
        for i in range(3):
            rate_x, rate_y = matrix[:, i, 0, None], matrix[:, i, 1, None]
            columns = rate_x * across
            rows = rate_y * down
            base = offset[:, i, None, None]
            plane = columns[:, None, :] + rows[:, :, None]
            start.append(plane + base)
            step.append(plane.mul_(1 / CAMERA_DISTANCE).sub_(matrix[:, i, 2, None, None]))
        return tuple(start), tuple(step)

    azimuth, elevation = (
        factors[k].double() * (math.pi / 180) for k in ("light_azimuth", "light_elevation")
    )
    light = torch.stack(
        [azimuth.sin() * elevation.cos(), elevation.sin(), azimuth.cos() * elevation.cos()], dim=-1
    ).float()
    light = product(rotation.transpose(1, 2), light[..., None])[..., 0]  # in the head's frame

    def lit(matrix: Tensor, normal: Axes) -> Tensor:
        """Brightness of a surface from its normal in the shape's frame."""
        to_light = product(matrix, light[..., None])
        metric = product(matrix, matrix.transpose(1, 2))
        nx, ny, nz = normal
        across_light = (
            nx * to_light[:, 0, :, None]
            + ny * to_light[:, 1, :, None]
            + nz * to_light[:, 2, :, None]
        )
        length = nx * nx * metric[:, 0, 0, None, None]
        length += ny * ny * metric[:, 1, 1, None, None]
        length += nz * nz * metric[:, 2, 2, None, None]
        cosine = across_light.div_(length.sqrt_())
        return (
            cosine.mul_(0.75).add_(0.25).clamp_(min=0).mul_(1.15 - f["ambient"]).add_(f["ambient"])
        )

    def cover(closest: Tensor, radius: Tensor | float) -> Tensor:
        """Share of a pixel covered by a round shape, from a ray's squared distance."""
        return (1 - closest).mul_(0.5 * radius / pixel).add_(0.5).clamp_(0, 1)

    skin = palette(SKIN, factors["melanin"])
    red = torch.tensor([0.0, 0.05, 0.04], device=device)
    skin = skin - (factors["redness"][:, None] * red)[..., None, None]
    hair = palette(HAIR, factors["hair_tone"])

    # Far things first: background, clothes and neck, the back of the hair.
    picture = background(head, across, down, grid)
    neck = neck_cover(head, across, down, pixel)
    picture = over(picture, skin * (0.62 * f["ambient"] + 0.12)[:, None], neck)

    hair_frame = head.hair_frame()
    shell = cast_ball(*rays(hair_frame))
    shell_cover = cover(shell.closest, head.half_width) * f["hair_cover"]
    cut = 0.16 - 1.25 * f["hair_length"]
    cut_local = cut * hair_frame[0][:, 1, 1, None, None] + hair_frame[1][:, 1, None, None]
    behind = edge(cut_local - shell.exit_y, pixel) * shell_cover
    picture = over(picture, hair * 0.55, behind)

    egg_frame = head.egg_frame()
    egg = cast_egg(*rays(egg_frame), head.taper)
    head_cover = (egg.lowest * (-0.5 * head.half_width / pixel)).add_(0.5).clamp_(0, 1)
    head_t = torch.where(egg.lowest < 0, egg.t, 9.0)

    for frame in head.ear_frames():
        ear = cast_ball(*rays(frame))
        alpha = cover(ear.closest, 0.5 * f["ear_size"])
        alpha *= (ear.t < head_t).float()
        shade = lit(frame[0], (ear.x, ear.y, ear.z)) * (0.72 + 0.28 * ear.closest)
        picture = over(picture, skin * shade[:, None], alpha)
        head_cover = head_cover * (1 - alpha)

    # The head's skin, and the face on it.
    g = 1 - head.taper * egg.y
    bulge = head.taper * (egg.x * egg.x + egg.z * egg.z)
    shade = lit(egg_frame[0], (2 * egg.x * g, 2 * egg.y - bulge, 2 * egg.z * g))
    u = egg.x * head.half_width
    v = egg.y * head.half_height + head.egg_y
    face = face_colours(head, skin, hair, u, v, egg.z > 0, shade, pixel)
    picture = over(picture, face, head_cover)

    # The nose: where it stands out of the face, blending in where it leaves the skin.
    for number, frame in enumerate(head.nose_frames()):
        ball = cast_ball(*rays(frame))
        alpha = cover(ball.closest, head.nose_w)
        alpha *= (head_t - ball.t).mul_(1 / 0.045).clamp_(0, 1)
        shade = lit(frame[0], (ball.x, ball.y, ball.z))
        if number == 1:  # nostrils, on the underside of the tip
            beside = (ball.x.abs() - 0.42) / 0.26
            under = (ball.y + 0.72) / 0.26
            shade = shade * (1 - 0.65 * (1 - beside * beside - under * under).clamp_(0, 1))
        picture = over(picture, skin * shade[:, None], alpha)

    picture = lay_glasses(head, picture, rays, head_t, pixel)

    # Front of the hair: the shell but for the opening before the face, and below the cut.
    radius_x = 1 / hair_frame[0][:, 0, 0, None, None]
    radius_y = 1 / hair_frame[0][:, 1, 1, None, None]
    hair_x = shell.x * radius_x
    hair_y = (shell.y - hair_frame[1][:, 1, None, None]) * radius_y
    open_x = hair_x / (head.half_width * 0.93)
    open_y = (hair_y - 0.12 - f["parting"] * hair_x).clamp_(min=0) / (f["hairline"] - 0.12)
    outside = (open_x * open_x + open_y * open_y - 1) * 0.3
    outside = torch.where(shell.z > 0.05, outside, 1.0)
    alpha = edge(-torch.minimum(outside, hair_y - cut), pixel) * shell_cover
    longitude = shell.x / (shell.x.abs() + shell.z.abs() + 0.05)
    strand = ((longitude * 14 + 40).remainder_(2) - 1).abs_().mul_(0.18).add_(0.85)
    shade = lit(hair_frame[0], (shell.x, shell.y, shell.z)) * strand
    picture = over(picture, hair * shade[:, None], alpha)

    warm = torch.tensor([0.06, 0.0, -0.06], device=device) * factors["warmth"][:, None]
    picture = picture * ((1 + warm) * factors["exposure"][:, None])[..., None, None]
    picture += sensor_noise(factors, size) * f["noise"][:, None]
    return (picture * 255).add_(0.5).clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=4)
def _noise_pool(length: int, device: torch.device) -> Tensor:
    """Nearly normal numbers, mean 0 and variance 1."""
    parts = np.stack([uniform(0, stream, np.arange(length), np.zeros(1)) for stream in range(4)])
    pool = (parts.sum(axis=0) - 2) * math.sqrt(3)
    return torch.from_numpy(pool.astype(np.float32)).to(device)


def sensor_noise(factors: dict[str, Tensor], size: int) -> Tensor:
    """Noise [N, 3, S, S]: each face takes a stretch of one pool, from its own offset."""
    pool = _noise_pool(_NOISE + 3 * size * size, factors["noise"].device)
    offset = (factors["noise_offset"].clamp(0, 1) * (_NOISE - 1)).long()
    return pool.unfold(0, 3 * size * size, 1)[offset].unflatten(1, (3, size, size))
