"""Occluders: a hand, a mask, strands of hair, a bar."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_faces.rendered.paint import HUES, edge_, over_, palette, wave
from ssl_faces.rendered.shapes import frame
from ssl_faces.rendered.stage import Stage

# Fingers: start across the palm, length, and lean.
_FINGERS = ((-0.19, 0.42, -0.10), (-0.065, 0.50, -0.03), (0.065, 0.47, 0.04), (0.19, 0.36, 0.12))


def lay_occluder(stage: Stage, picture: Tensor, skin: Tensor, hair: Tensor, depth: Tensor) -> None:
    """Draw each face's occluder, if it has one, over its image [N, 3, S, S], in place."""
    kinds = stage.factors["occluder"].round()
    # In the order of OCCLUDERS, which begins with none.
    for number, lay in enumerate((_hand, _mask, _strands, _bar), 1):
        chosen = kinds == number
        if not bool(chosen.any()):
            continue
        colour, alpha, shade = lay(stage, skin, hair, depth)
        over_(picture, colour, alpha.mul_(chosen[:, None, None].float()), shade)


def _local(stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates in the occluder's frame in half head heights, and `steep` there."""
    f = stage.head.factors
    radians = stage.factors["occluder_angle"].double() * (math.pi / 180)
    c, s = radians.cos().float()[:, None, None], radians.sin().float()[:, None, None]
    # In front of the face, so a little nearer.
    scale = 1 / (f["zoom"] * f["occluder_size"])
    x = (stage.grid[None, None, :] - f["shift_x"] - f["occluder_x"]) * scale
    y = (-stage.grid[None, :, None] - f["shift_y"] - f["occluder_y"]) * scale
    # Hands and strands have a left and a right; the mirrored angle has the other.
    turned = torch.where(stage.factors["occluder_angle"] < 0, -1.0, 1.0)[:, None, None]
    steep = stage.size / (-2 * scale)
    return (x * c - y * s) * turned, x * s + y * c, steep


def _hand(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    x, y, steep = _local(stage)
    py = (y + 0.22).mul_(1 / 0.34).square_()
    nearest = (x * (1 / 0.29)).square_().add_(py).sub_(1).mul_(0.15)
    crease = torch.zeros_like(nearest)
    for begin, length, lean in _FINGERS:
        along = (y * (1 / length)).clamp_(0, 1)
        beside = (along * -lean).add_(x).sub_(begin).square_()
        finger = beside.add_((y - along * length).square_()).sqrt_().sub_(0.068)
        torch.minimum(nearest, finger, out=nearest)
        between = finger.abs_().sub_(0.004).mul_(1 / 0.02).clamp_(0, 1)
        torch.maximum(crease, between.neg_().add_(1), out=crease)
    crease.mul_(torch.gt(y, 0, out=y))  # between fingers, not on the palm
    ambient = 0.35 + 0.6 * stage.head.factors["ambient"]
    round_off = (nearest + 0.07).mul_(1 / 0.07).clamp_(0, 1).mul_(-0.25).add_(1)
    shade = round_off.sub_(crease.mul_(0.3)).mul_(ambient)
    return skin, edge_(nearest, steep), shade


def _mask(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    """A mask or scarf over nose and chin, which moves with the head."""
    head = stage.head
    middle = head.mouth_y - 0.05
    shell = frame(
        (0.0, middle, 0.12),
        (head.half_width * 0.99, 0.56 + 0.5 * head.gap_low, head.half_depth + 0.02),
    )
    (solid,), grid = stage.solids(shell), stage.pixels()
    hit = solid.hit(grid)
    x, y, z = solid.places(grid, slice(0, 3), hit.t)
    height = y.mul_(shell.radii[1]).add_(middle)
    # From the bridge of the nose at the middle down to below the ears.
    below_top = x.mul_(shell.radii[0]).square_().mul_(0.35).add_(height).sub_(head.tip_y + 0.16)
    alpha = edge_(below_top, stage.steep).mul_(edge_(z.neg_().add_(0.02), stage.steep))
    alpha.mul_(stage.cover(hit.closest, head.half_width))
    alpha.mul_(torch.lt(hit.t, depth + 0.12, out=z))
    pleats = wave(height.mul_(9)).mul_(0.12).add_(0.88)
    shade = stage.lit(solid, grid, hit.t).mul_(pleats)
    return palette(HUES, stage.factors["occluder_hue"]) * 0.6 + 0.4, alpha, shade


def _strands(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    x, y, steep = _local(stage)
    alpha = torch.zeros_like(x)
    bend = wave(y * 1.3 + 1)
    taper = (y * 0.7).abs_().neg_().add_(1.1).clamp_(min=0)
    leaning = x.sub_(y.mul_(0.1))
    for begin, bent, wide in ((-0.22, 0.10, 0.035), (-0.05, 0.16, 0.05), (0.12, 0.05, 0.03)):
        thin = taper * wide
        strand = leaning.sub(bend * bent).sub_(begin).abs_().sub_(thin)
        strand = edge_(strand, steep).mul_(torch.gt(thin, 0.006, out=thin))
        torch.maximum(alpha, strand, out=alpha)
    light = 0.45 + 0.5 * stage.head.factors["ambient"]
    return hair, alpha, light.expand_as(alpha)


def _bar(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    x, y, steep = _local(stage)
    alpha = edge_(y.abs_().sub_(0.14), steep)
    shade = wave(x.mul_(4).add_(1)).mul_(-0.25).add_(1)
    return palette(HUES, stage.factors["occluder_hue"]), alpha, shade
