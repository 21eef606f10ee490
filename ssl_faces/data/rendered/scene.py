"""What is around the face: background, clothes, neck, ears, hair, glasses."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_faces.data.rendered.paint import HUES, colour_of, edge, over_, palette, strip, wave
from ssl_faces.data.rendered.shapes import Ball, Rays, cast_ball
from ssl_faces.data.rendered.stage import Stage


def background(stage: Stage) -> Tensor:
    """Pictures [N, 3, S, S] of what is behind."""
    f, grid = stage.factors, stage.grid
    wide = stage.head.factors
    colour = (0.55 + 0.45 * palette(HUES, f["background_hue"])) * wide["background_value"][:, None]
    slope = wide["gradient_x"] * grid[None, None, :] - wide["gradient_y"] * grid[None, :, None]
    picture = colour * (1 + slope)[:, None]
    if bool((f["clutter"] > 0).any()):
        x = grid[None, None, :] - wide["clutter_x"]
        y = grid[None, :, None] - wide["clutter_y"]
        shapes = wave(x.abs() * 2.3 + y * y * 1.4) * wave(y * 1.7 + x * x + 1)
        shapes = ((shapes - 0.25) * 7).clamp_(0, 1).mul_(wide["clutter"])
        other = (
            palette(HUES, f["clutter_hue"]) * (0.2 + 0.8 * (1 - wide["background_value"]))[:, None]
        )
        over_(picture, other, shapes)
    return picture


def lay_body(stage: Stage, picture: Tensor, skin: Tensor) -> None:
    """Clothes, and a neck that leans halfway to where the chin is."""
    head, f = stage.head, stage.head.factors
    # Rows above all clothes and necks are left alone.
    first = int((stage.down > -0.3).sum(1).min())
    first = max(0, first - 1)
    if first >= stage.size:
        return
    lower = picture[:, :, first:]
    across, down = stage.across[:, None, :], stage.down[:, first:, None]
    clothes = palette(HUES, stage.factors["clothes_hue"]) * (0.25 + 0.55 * f["ambient"])[:, None]
    x, y = across / 1.25, (down + 2.0) / 0.85
    over_(lower, clothes, edge((x * x + y * y - 1) * 0.5, stage.pixel))
    chin = -head.rotation[:, 0, 1, None, None] * 0.6 + head.rotation[:, 0, 2, None, None] * 0.12
    width = (0.37 + 0.05 * f["masculinity"]) * (head.half_width / 0.75)
    x = across - chin * (1 + 0.35 * (down + 1).clamp(-1, 0))
    flare = ((down + 1.05) * -0.5).clamp(min=0)
    alpha = edge(torch.maximum(x.abs() - width - flare * flare * 2, down + 0.3), stage.pixel)
    alpha *= edge(x * x * 1.1 - (down + 1.42), stage.pixel)
    round_off = 1 - (x / width) * (x / width) * 0.18
    over_(lower, skin, alpha, round_off * (0.62 * f["ambient"] + 0.12))


class Hair:
    """The shell that hair is cut from, met by rays: its back is behind the head, its front before
    it."""

    def __init__(self, stage: Stage, rays: Rays, colour: Tensor) -> None:
        self.stage, self.colour = stage, colour
        self.frame = stage.head.hair()
        start, step = self.frame.rays(rays)
        self.ball: Ball = cast_ball(start, step)
        f = stage.head.factors
        self.cover = stage.cover(self.ball.closest, stage.head.half_width).mul_(f["hair_cover"])
        length = f["hair_length"]
        self.cut = 0.06 - 1.28 * length
        # Short hair goes further down at the nape than before the ears.
        self.slope = 0.8 * (1 - 2.5 * length).clamp(min=0)
        beyond = self.ball.t + 2 * self.ball.half
        self._exit = [(beyond * step[i]).add_(start[i]) for i in (1, 2)]

    def _uncut(self, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """Height of the head's frame at (y, z) of the shell's, and below what it is cut."""
        height = y * self.frame.radii[1] + self.frame.centre[1]
        back = (z * self.frame.radii[2]).add_(0.03).clamp_(max=0)
        return height, back.mul_(self.slope).add_(self.cut)

    def lay_back(self, picture: Tensor) -> None:
        height, cut = self._uncut(*self._exit)
        alpha = edge(cut - height, self.stage.pixel).mul_(self.cover)
        over_(picture, self.colour * 0.55, alpha)

    def lay_front(self, picture: Tensor) -> None:
        """All but the opening before the face, and what is cut off."""
        stage, f = self.stage, self.stage.head.factors
        ball = self.ball
        strand = wave(ball.x / (ball.x.abs() + ball.z.abs() + 0.05) * 17 + 40)
        height, cut = self._uncut(ball.y, ball.z)
        x = ball.x * self.frame.radii[0]
        line = f["hairline"] - 0.34 * f["fringe"]
        open_x = x / (stage.head.half_width * 0.93)
        # The parting lifts one side of the hairline.
        open_y = (height - 0.12 - f["parting"] * x).clamp_(min=0) / (line - 0.12)
        ragged = (strand * (0.05 + 0.10 * f["fringe"])).add_(1)
        outside = (open_x * open_x + open_y * open_y * ragged - 1) * 0.3
        outside = torch.where(ball.z > 0.05, outside, 1.0)
        uncut = height - cut - 0.05 * strand
        alpha = edge(-torch.minimum(outside, uncut), stage.pixel).mul_(self.cover)
        shade = stage.lit(self.frame.normal(ball.x, ball.y, ball.z))
        over_(picture, self.colour, alpha, shade.mul_(strand.mul_(0.13).add_(0.88)))


def lay_ears(stage: Stage, picture: Tensor, skin: Tensor, head_t: Tensor) -> None:
    size = stage.head.factors["ear_size"]
    for frame in stage.head.ears():
        window = stage.window(*frame.centre, size)
        ear = cast_ball(*frame.rays(stage.rays(window)))
        alpha = stage.cover(ear.closest, 0.5 * size)
        alpha *= (ear.t < window.take(head_t)).float()
        shade = stage.lit(frame.normal(ear.x, ear.y, ear.z))
        # The hollow of the ear.
        shade *= 0.62 + 0.38 * ear.closest
        part = window.take(picture)
        window.put(picture, over_(part, skin, alpha, shade))


def lay_nose(stage: Stage, picture: Tensor, skin: Tensor, head_t: Tensor) -> None:
    """Where it stands out of the face, blending in where it leaves the skin."""
    head = stage.head
    for number, frame in enumerate(head.nose()):
        reach = torch.maximum(frame.radii[1], torch.maximum(frame.radii[0], frame.radii[2]))
        window = stage.window(*frame.centre, reach)
        ball = cast_ball(*frame.rays(stage.rays(window)))
        alpha = stage.cover(ball.closest, head.nose_w)
        alpha *= (window.take(head_t) - ball.t).mul_(1 / 0.045).clamp_(0, 1)
        shade = stage.lit(frame.normal(ball.x, ball.y, ball.z))
        if number == 1:  # nostrils, on the underside of the tip
            beside = (ball.x.abs() - 0.42) / 0.26
            under = (ball.y + 0.72) / 0.26
            shade = shade * (1 - 0.65 * (1 - beside * beside - under * under).clamp_(0, 1))
        window.put(picture, over_(window.take(picture), skin, alpha, shade))


def lay_glasses(stage: Stage, picture: Tensor, head_t: Tensor) -> None:
    """Rims, a bridge and the arms' fronts, in a plane before the eyes."""
    head, f = stage.head, stage.head.factors
    if not bool((f["glasses"] > 0).any()):
        return
    plane = head.skin_z(head.eye_y) + 0.02
    window = stage.window(0.0, head.eye_y, plane, head.half_width * 0.86 + 0.12)
    (x, y, z), (dx, dy, dz) = stage.rays(window)
    t = (plane - z) / torch.where(dz.abs() < 0.02, -0.02, dz)
    x, y = (x + t * dx).abs_(), y + t * dy - head.eye_y + 0.02
    rim_x, rim_y = (x - head.eye_x) / (head.eye_w + 0.06), y / 0.155
    ring = ((rim_x * rim_x + rim_y * rim_y).sqrt_() - 1) * 0.16
    inner = head.eye_x - head.eye_w - 0.06
    bridge = strip(y - 0.03, 0.014, stage.pixel) * edge(x - inner, stage.pixel)
    arm = strip(y - 0.05, 0.014, stage.pixel)
    arm *= edge((x - head.half_width * 0.86).abs_() - 0.08, stage.pixel)
    alpha = torch.maximum(torch.maximum(strip(ring, 0.016, stage.pixel), bridge), arm)
    alpha *= f["glasses"] * (t < window.take(head_t) + 0.02).float()
    frame = colour_of((0.13, 0.12, 0.13), picture.device)
    window.put(picture, over_(window.take(picture), frame, alpha))
