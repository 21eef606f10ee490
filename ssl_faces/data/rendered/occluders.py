"""What may be before a face: a hand, a mask, strands of hair, a bar."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_faces.data.rendered.paint import HUES, edge, over_, palette, wave
from ssl_faces.data.rendered.shapes import cast_ball, frame
from ssl_faces.data.rendered.stage import Stage

# Fingers: where each begins across the palm, how long it is and how far it leans out.
_FINGERS = ((-0.19, 0.42, -0.10), (-0.065, 0.50, -0.03), (0.065, 0.47, 0.04), (0.19, 0.36, 0.12))


def lay_occluder(stage: Stage, picture: Tensor, skin: Tensor, hair: Tensor, depth: Tensor) -> None:
    """Lay each face's occluder, if it has one, over its picture [N, 3, S, S], in place."""
    kinds = stage.factors["occluder"].round()
    # In the order of OCCLUDERS, whose first is none.
    for number, lay in enumerate((_hand, _mask, _strands, _bar), 1):
        chosen = kinds == number
        if not bool(chosen.any()):
            continue
        colour, alpha, shade = lay(stage, skin, hair, depth)
        over_(picture, colour, alpha * chosen[:, None, None], shade)


def _local(stage: Stage) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of the occluder's own frame in half head heights, and a pixel's side."""
    f = stage.head.factors
    radians = stage.factors["occluder_angle"].double() * (math.pi / 180)
    c, s = radians.cos().float()[:, None, None], radians.sin().float()[:, None, None]
    # Held before the face, so that it stands a little nearer.
    scale = 1 / (f["zoom"] * f["occluder_size"])
    x = (stage.grid[None, None, :] - f["shift_x"] - f["occluder_x"]) * scale
    y = (-stage.grid[None, :, None] - f["shift_y"] - f["occluder_y"]) * scale
    # Hands and strands have a left and a right; the mirrored angle has the other.
    turned = torch.where(stage.factors["occluder_angle"] < 0, -1.0, 1.0)[:, None, None]
    return (x * c - y * s) * turned, x * s + y * c, 2 * scale / stage.size


def _hand(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    x, y, pixel = _local(stage)
    px, py = x / 0.29, (y + 0.22) / 0.34
    nearest = (px * px + py * py - 1) * 0.15
    crease = torch.zeros_like(nearest)
    for begin, length, lean in _FINGERS:
        along = (y.clamp(-0.05, 1) / length).clamp_(0, 1)
        beside = x - begin - lean * along
        above = y - along * length
        finger = (beside * beside + above * above).sqrt_() - 0.068
        between = ((finger.abs() - 0.004) / 0.02).clamp_(0, 1)
        crease = torch.maximum(crease, (1 - between) * (y > 0.0))
        nearest = torch.minimum(nearest, finger)
    round_off = 1 - ((nearest + 0.07) / 0.07).clamp(0, 1) * 0.25
    ambient = 0.35 + 0.6 * stage.head.factors["ambient"]
    return skin, edge(nearest, pixel), (round_off - 0.3 * crease) * ambient


def _mask(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    """A mask or scarf over nose and chin, worn: it moves with the head."""
    head = stage.head
    middle = head.mouth_y - 0.05
    shell = frame(
        (0.0, middle, 0.12),
        (head.half_width * 0.99, 0.56 + 0.5 * head.gap_low, head.half_depth + 0.02),
    )
    ball = cast_ball(*shell.rays(stage.rays()))
    height = ball.y * shell.radii[1] + middle
    # From the bridge of the nose at the middle down to below the ears.
    x = ball.x * shell.radii[0]
    top = head.tip_y + 0.16 - x * x * 0.35
    front = edge(height - top, stage.pixel) * edge(0.02 - ball.z, stage.pixel)
    alpha = stage.cover(ball.closest, head.half_width) * front * (ball.t < depth + 0.12)
    pleats = wave(height * 9).mul_(0.12).add_(0.88)
    shade = stage.lit(shell.normal(ball.x, ball.y, ball.z)) * pleats
    return palette(HUES, stage.factors["occluder_hue"]) * 0.6 + 0.4, alpha, shade


def _strands(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    x, y, pixel = _local(stage)
    alpha = torch.zeros_like(x)
    for begin, bend, wide in ((-0.22, 0.10, 0.035), (-0.05, 0.16, 0.05), (0.12, 0.05, 0.03)):
        middle = x - begin - bend * wave(y * 1.3 + 1) - 0.1 * y
        thin = wide * (1.1 - (y * 0.7).abs()).clamp(min=0)
        alpha = torch.maximum(alpha, edge(middle.abs() - thin, pixel) * (thin > 0.006))
    light = 0.45 + 0.5 * stage.head.factors["ambient"]
    return hair, alpha, light.expand_as(alpha)


def _bar(stage: Stage, skin: Tensor, hair: Tensor, depth: Tensor) -> tuple[Tensor, ...]:
    x, y, pixel = _local(stage)
    alpha = edge(y.abs() - 0.14, pixel)
    shade = 1 - 0.25 * wave(x * 4 + 1)
    return palette(HUES, stage.factors["occluder_hue"]), alpha, shade
