"""Colours, covers, and laying one over another."""

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
    """Lay `colour` [N, 3, 1, 1] times `shade` [N, H, W] over `picture` [N, 3, H, W], in place,
    where `alpha` [N, H, W] says."""
    light = alpha if shade is None else shade * alpha
    return picture.mul_((1 - alpha)[:, None]).add_(colour * light[:, None])


def edge(distance: Tensor, pixel: Tensor) -> Tensor:
    """Cover 1 inside (negative distance) to 0 outside, over a pixel's width."""
    return (distance / pixel).neg_().add_(0.5).clamp_(0, 1)


def strip(distance: Tensor, half: Tensor | float, pixel: Tensor) -> Tensor:
    """Cover of a strip whose middle is at `distance`; also right where it is thinner than a
    pixel."""
    at = distance / pixel
    half = half / pixel
    return (at + half).add_(0.5).clamp_(0, 1).sub_((at - half).add_(0.5).clamp_(0, 1))


def bump(squared: Tensor) -> Tensor:
    """1 where `squared` is 0, falling smoothly to 0 where it is 1."""
    found = (1 - squared).clamp_(min=0)
    return found.mul_(found)


def wave(at: Tensor) -> Tensor:
    """A triangle wave of period 2: 0 at even numbers, 1 at odd ones."""
    return at.remainder(2).sub_(1).abs_().neg_().add_(1)


def colour_of(rgb: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(rgb, device=device)[None, :, None, None]


def palette(colours: Sequence[Sequence[float]], place: Tensor) -> Tensor:
    """Colour [N, 3, 1, 1] at `place` [N], 0 to 1 along evenly spaced `colours`."""
    table = torch.tensor(colours, device=place.device)
    at = place.clamp(0, 1) * (len(table) - 1)
    low = at.long().clamp(max=len(table) - 2)
    share = (at - low)[:, None]
    return (table[low] * (1 - share) + table[low + 1] * share)[..., None, None]
