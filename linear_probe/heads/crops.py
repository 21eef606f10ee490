"""Crops and mirror images of whole batches: at random in training, ten of each to be scored."""

from __future__ import annotations

import torch
from torch import Tensor

from linear_probe.sources.supervised import varied


def random_crops(images: Tensor, side: int) -> Tensor:
    """Crops [B, 3, side, side] of pictures [B, 3, R, R], each at a place of its own, half of them
    mirrored; from torch's random numbers."""
    count, room = len(images), images.shape[-1] - side
    top, left = torch.randint(0, room + 1, (2, count, 1), device="cpu").to(images.device)
    along = torch.arange(side, device=images.device)
    rows, columns = top + along, left + along
    mirrored = (torch.rand(count, 1) < 0.5).to(images.device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    which = torch.arange(count, device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return images[which, channels, rows[:, None, :, None], columns[:, None, None, :]]


def ten_crops(images: Tensor, side: int) -> Tensor:
    """The four corners, the middle, and their mirror images: [10, B, 3, side, side] of pictures
    [B, 3, R, R]."""
    room = int(images.shape[-1]) - side
    places = [(0, 0), (0, room), (room, 0), (room, room), (round(room / 2), round(room / 2))]
    # Not torchvision's: what rounds sizes can't be written as ONNX.
    return torch.stack(
        [
            of[..., top : top + side, left : left + side]
            for of in (images, images.flip(-1))
            for top, left in places
        ]
    )


def mirrored_and_moved(images: Tensor) -> Tensor:
    """Training pictures uint8 [B, 3, S, S] as `varied` draws them, by numbers that follow from
    torch's; float in [0, 1]."""
    draw = torch.Generator().manual_seed(int(torch.randint(2**31, (1,))))
    return varied(images.cpu(), draw).to(images.device).float() / 255
