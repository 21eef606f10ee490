"""Colours, coverage and compositing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SKIN = ((1.0, 0.87, 0.78), (0.93, 0.73, 0.59), (0.72, 0.50, 0.37), (0.40, 0.26, 0.19))
HAIR = (
    (0.07, 0.06, 0.06),
    (0.20, 0.13, 0.09),
    (0.40, 0.25, 0.14),
    (0.56, 0.25, 0.11),
    (0.86, 0.70, 0.42),
    (0.73, 0.72, 0.71),
)
IRIS = ((0.20, 0.11, 0.06), (0.42, 0.26, 0.12), (0.28, 0.42, 0.24), (0.25, 0.44, 0.66))
LIPS = ((0.66, 0.38, 0.36), (0.80, 0.30, 0.34))
HUES = (
    (0.75, 0.30, 0.28),
    (0.72, 0.62, 0.30),
    (0.32, 0.62, 0.36),
    (0.30, 0.45, 0.75),
    (0.58, 0.38, 0.68),
    (0.75, 0.30, 0.28),
)
WHITE = (0.96, 0.95, 0.92)
DARK = (0.09, 0.05, 0.05)


def over_(picture: Tensor, colour: Tensor, alpha: Tensor, shade: Tensor | None = None) -> Tensor:
    """Composite `colour` [N, 3, 1, 1] times `shade` [N, H, W] over `picture` [N, 3, H, W] by
    `alpha` [N, H, W], in place."""
    if shade is None:
        return picture.lerp_(colour, alpha[:, None])
    return picture.mul_((1 - alpha)[:, None]).addcmul_(colour, (shade * alpha)[:, None])


def edge_(distance: Tensor, steep: Tensor) -> Tensor:
    """Coverage from 1 inside (negative distance) to 0 outside, over one pixel, in place; `steep`
    as in `Stage`."""
    return distance.mul_(steep).add_(0.5).clamp_(0, 1)


def strip_(distance: Tensor, half: Tensor | float, steep: Tensor) -> Tensor:
    """Coverage of a strip with its middle at `distance`, in place; also correct below one pixel.
    `steep` as in `Stage`."""
    half = half * steep
    cover = distance.abs_().mul_(steep).add_(0.5 - half)
    return torch.minimum(cover, (half * -2).clamp_(max=1), out=cover).clamp_(min=0)


def bump(squared: Tensor) -> Tensor:
    """1 where `squared` is 0, falling smoothly to 0 where it is 1."""
    return (1 - squared).clamp_(min=0).square_()


def wave(at: Tensor) -> Tensor:
    """A triangle wave of period 2: 0 at even numbers, 1 at odd ones."""
    return saw_(at * 0.5).abs_().mul_(2)


def saw_(at: Tensor) -> Tensor:
    """The difference of numbers from the nearest whole number, in place."""
    return at.sub_(at.round())


def colour_of(rgb: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(rgb, device=device)[None, :, None, None]


def palette(colours: Sequence[Sequence[float]], place: Tensor) -> Tensor:
    """Colour [N, 3, 1, 1] at `place` [N], 0 to 1 along evenly spaced `colours`."""
    table = torch.tensor(colours, device=place.device)
    at = place.clamp(0, 1) * (len(table) - 1)
    low = at.long().clamp(max=len(table) - 2)
    share = (at - low)[:, None]
    return (table[low] * (1 - share) + table[low + 1] * share)[..., None, None]
