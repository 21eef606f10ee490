"""Background, clothes, neck, ears, hair, glasses."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_faces.rendered.head import FAR
from ssl_faces.rendered.paint import HUES, colour_of, edge_, over_, palette, strip_, wave
from ssl_faces.rendered.shapes import Frame, Solid
from ssl_faces.rendered.stage import Stage


def background(stage: Stage) -> Tensor:
    """Images [N, 3, S, S] of the background."""
    f, grid = stage.factors, stage.grid
    wide = stage.head.factors
    colour = (0.55 + 0.45 * palette(HUES, f["background_hue"])) * wide["background_value"][:, None]
    slope = wide["gradient_x"] * grid[None, None, :] - wide["gradient_y"] * grid[None, :, None]
    picture = colour * (1 + slope)[:, None]
    if bool((f["clutter"] > 0).any()):
        x = grid[None, None, :] - wide["clutter_x"]
        y = grid[None, :, None] - wide["clutter_y"]
        shapes = wave(x.abs() * 2.3 + y * y * 1.4).mul_(wave(x * x + (y * 1.7 + 1)))
        shapes = shapes.sub_(0.25).mul_(7).clamp_(0, 1).mul_(wide["clutter"])
        other = (
            palette(HUES, f["clutter_hue"]) * (0.2 + 0.8 * (1 - wide["background_value"]))[:, None]
        )
        over_(picture, other, shapes)
    return picture


def lay_body(stage: Stage, picture: Tensor, skin: Tensor) -> None:
    """Clothes, and a neck that leans halfway to where the chin is."""
    head, f = stage.head, stage.head.factors
    # Skip rows above all clothes and necks.
    first = int((stage.down > -0.3).sum(1).min())
    first = max(0, first - 1)
    if first >= stage.size:
        return
    lower = picture[:, :, first:]
    across, down = stage.across[:, None, :], stage.down[:, first:, None]
    clothes = palette(HUES, stage.factors["clothes_hue"]) * (0.25 + 0.55 * f["ambient"])[:, None]
    x, y = across / 1.25, (down + 2.0) / 0.85
    over_(lower, clothes, edge_((x * x * 0.5) + (y * y - 1) * 0.5, stage.steep))
    chin = -head.rotation[:, 0, 1, None, None] * 0.6 + head.rotation[:, 0, 2, None, None] * 0.12
    width = (0.37 + 0.05 * f["masculinity"]) * (head.half_width / 0.75)
    x = across - chin * (1 + 0.35 * (down + 1).clamp(-1, 0))
    x2 = x * x
    flare = ((down + 1.05) * -0.5).clamp(min=0)
    alpha = torch.maximum(x.abs_().sub_(width + flare * flare * 2), down + 0.3)
    alpha = edge_(alpha, stage.steep)
    alpha *= edge_((x2 * 1.1).sub_(down + 1.42), stage.steep)
    # Round: darker towards its sides.
    bright = 0.62 * f["ambient"] + 0.12
    over_(lower, skin, alpha, x2.mul_(bright * -0.18 / (width * width)).add_(bright))


class Hair:
    """Intersections of rays with the hair's shell, whose back is behind the head."""

    def __init__(self, stage: Stage, solid: Solid, frame: Frame, colour: Tensor) -> None:
        self.stage, self.solid, self.frame, self.colour = stage, solid, frame, colour
        f = stage.head.factors
        self.grid = stage.pixels()
        hit = solid.hit(self.grid)
        self.t = hit.t
        self.cover = stage.cover(hit.closest, stage.head.half_width).mul_(f["hair_cover"])
        length = f["hair_length"]
        self.cut = 0.06 - 1.28 * length
        # Short hair goes further down at the nape than before the ears.
        self.slope = 0.8 * (1 - 2.5 * length).clamp(min=0)
        beyond = hit.middle.mul_(2).sub_(hit.t)
        y, z, *self._exit = solid.places(self.grid, slice(1, 3), self.t, beyond)
        self.height, self.z = self._height(y), z

    def _height(self, y: Tensor) -> Tensor:
        """Height of the head's frame at y of the shell's, in place."""
        return y.mul_(self.frame.radii[1]).add_(self.frame.centre[1])

    def _below_cut(self, height: Tensor, z: Tensor) -> Tensor:
        """Distance below the cut of the hair, at z of the shell's frame."""
        back = (z * self.frame.radii[2]).add_(0.03).clamp_(max=0)
        return back.mul_(self.slope).add_(self.cut).sub_(height)

    def lay_back(self, picture: Tensor) -> None:
        y, z = self._exit
        alpha = edge_(self._below_cut(self._height(y), z), self.stage.steep).mul_(self.cover)
        over_(picture, self.colour * 0.55, alpha)

    def lay_front(self, picture: Tensor) -> None:
        """Draw the front, without the opening for the face and below the cut."""
        stage, f = self.stage, self.stage.head.factors
        height, z = self.height, self.z
        (x,) = self.solid.places(self.grid, slice(0, 1), self.t)
        strand = wave(x.abs().add_(z.abs()).add_(0.05).reciprocal_().mul_(x).mul_(17).add_(40))
        line = f["hairline"] - 0.34 * f["fringe"]
        # The parting lifts one side of the hairline.
        parting = f["parting"] * self.frame.radii[0]
        open_y = (height - 0.12).addcmul_(x, -parting).clamp_(min=0).mul_(1 / (line - 0.12))
        open_x = x.mul_(self.frame.radii[0] / (stage.head.half_width * 0.93))
        ragged = (strand * (0.05 + 0.10 * f["fringe"])).add_(1)
        outside = open_y.square_().mul_(ragged).addcmul_(open_x, open_x).sub_(1).mul_(0.3)
        # The opening is at the front alone.
        outside.add_(torch.le(z, 0.05, out=open_x), alpha=FAR)
        below = self._below_cut(height, z).add_(strand * 0.05)
        alpha = edge_(torch.maximum(below, outside.neg_(), out=below), stage.steep)
        alpha.mul_(self.cover)
        shade = stage.lit(self.solid, self.grid, self.t)
        over_(picture, self.colour, alpha, shade.mul_(strand.mul_(0.13).add_(0.88)))


def lay_ears(stage: Stage, picture: Tensor, skin: Tensor, depth: Tensor, ears: list[Solid]) -> None:
    """Draw the ears in front of a head at `depth` [N, S, S] along the rays."""
    size = stage.head.factors["ear_size"]
    for frame, ear in zip(stage.head.ears(), ears, strict=True):
        window = stage.window(*frame.centre, size)
        grid = stage.pixels(window)
        hit = ear.hit(grid)
        # The hollow of the ear.
        shade = stage.lit(ear, grid, hit.t).mul_((hit.closest * 0.38).add_(0.62))
        alpha = stage.cover(hit.closest, 0.5 * size)
        alpha.mul_(torch.lt(hit.t, window.take(depth), out=hit.middle))
        window.put(picture, over_(window.take(picture), skin, alpha, shade))


def lay_nose(stage: Stage, picture: Tensor, skin: Tensor, depth: Tensor, nose: list[Solid]) -> None:
    """Draw the bridge and the tip of the nose, blended with the skin at `depth`."""
    head = stage.head
    for number, (frame, part) in enumerate(zip(head.nose(), nose, strict=True)):
        reach = torch.maximum(frame.radii[1], torch.maximum(frame.radii[0], frame.radii[2]))
        window = stage.window(*frame.centre, reach)
        grid = stage.pixels(window)
        hit = part.hit(grid)
        alpha = stage.cover(hit.closest, head.nose_w)
        alpha.mul_(window.take(depth).sub_(hit.t).mul_(1 / 0.045).clamp_(0, 1))
        shade = stage.lit(part, grid, hit.t)
        if number == 1:  # nostrils, on the underside of the tip
            x, y = part.places(grid, slice(0, 2), hit.t)
            beside = x.abs_().sub_(0.42).mul_(1 / 0.26).square_()
            hole = beside.add_(y.add_(0.72).mul_(1 / 0.26).square_()).sub_(1).clamp_(max=0)
            shade.mul_(hole.mul_(0.65).add_(1))
        window.put(picture, over_(window.take(picture), skin, alpha, shade))


def lay_glasses(stage: Stage, picture: Tensor, depth: Tensor) -> None:
    """Draw rims, bridge and fronts of the arms, in a plane in front of the eyes."""
    head, f = stage.head, stage.head.factors
    if not bool((f["glasses"] > 0).any()):
        return
    steep = stage.steep
    plane = head.skin_z(head.eye_y) + 0.02
    window = stage.window(0.0, head.eye_y, plane, head.half_width * 0.86 + 0.12)
    x, y, t = stage.plane(stage.pixels(window), plane)
    x, y = x.abs_(), y.sub_(head.eye_y - 0.02)
    rim = (x - head.eye_x).mul_(1 / (head.eye_w + 0.06)).square_()
    ring = rim.add_((y * (1 / 0.155)).square_()).sqrt_().sub_(1).mul_(0.16)
    bridge = edge_(x - (head.eye_x - head.eye_w - 0.06), steep)
    bridge.mul_(strip_(y - 0.03, 0.014, steep))
    arm = edge_(x.sub_(head.half_width * 0.86).abs_().sub_(0.08), steep)
    arm.mul_(strip_(y.sub_(0.05), 0.014, steep))
    alpha = torch.maximum(strip_(ring, 0.016, steep), bridge, out=bridge)
    alpha = torch.maximum(alpha, arm, out=arm).mul_(f["glasses"])
    alpha.mul_(torch.lt(t, window.take(depth).add_(0.02), out=ring))
    frame = colour_of((0.13, 0.12, 0.13), picture.device)
    window.put(picture, over_(window.take(picture), frame, alpha))
