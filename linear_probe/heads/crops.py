"""Crops and mirror images of whole batches: at random in training, ten of each to be scored."""

from __future__ import annotations

import torch
from torch import Tensor

from linear_probe.heads.goals import Goal
from linear_probe.heads.head import Head
from ssl_faces import FaceEncoder

SHIFT = 4
"""Pixels that `mirrored_and_moved` shifts images by at most, in each direction."""


class CroppedHead(Head):
    """A head that is trained on random crops and mirror images.

    Args:
        goal, encoder: see `Head`.
        picture_size: side of the crops.
        margin: pixels by which images are read larger.
    """

    def __init__(
        self, goal: Goal, encoder: FaceEncoder | None, picture_size: int, margin: int
    ) -> None:
        super().__init__(goal, encoder)
        self.picture_size, self.margin = picture_size, margin

    @property
    def read_size(self) -> int:
        return self.picture_size + self.margin

    def vary(self, images: Tensor) -> Tensor:
        return random_crops(images, self.picture_size).float() / 255


def random_crops(images: Tensor, side: int) -> Tensor:
    """Crops [B, 3, side, side] of images [B, 3, R, R], each at a random place, half of them
    mirrored; from torch's random numbers."""
    count, room = len(images), images.shape[-1] - side
    top, left = torch.randint(0, room + 1, (2, count, 1), device="cpu").to(images.device)
    along = torch.arange(side, device=images.device)
    rows, columns = top + along, left + along
    mirrored = (torch.rand(count, 1) < 0.5).to(images.device)
    columns = torch.where(mirrored, columns.flip(1), columns)
    return _at(images, rows, columns)


def ten_crops(images: Tensor, side: int) -> Tensor:
    """The four corners, the middle, and their mirror images: [10, B, 3, side, side] of images
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
    """Training images uint8 [B, 3, S, S]: half of them mirrored, each shifted by up to `SHIFT`
    pixels with repeated edges, drawn from torch's random numbers; float in [0, 1]."""
    draw = torch.Generator().manual_seed(int(torch.randint(2**31, (1,))))
    n, size = len(images), images.shape[-1]
    mirrored = torch.rand(n, generator=draw) < 0.5
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2, n, 1), generator=draw)
    along = torch.arange(size)
    rows, columns = (along + down).clamp(0, size - 1), (along + right).clamp(0, size - 1)
    columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    return _at(images.cpu(), rows, columns).to(images.device).float() / 255


def standardised(images: Tensor) -> Tensor:
    """Images [N, 3, S, S] of 0 to 255, each to mean 0 and a standard deviation of about 1, so that
    exposure and contrast need not be learned."""
    x = images.float()
    x = (x - x.mean((1, 2, 3), keepdim=True)) / (x.std((1, 2, 3), keepdim=True) + 8)
    return x.to(memory_format=torch.channels_last)


def _at(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels [B, C, h, w] at each image's rows [B, h] and columns [B, w]."""
    which = torch.arange(len(images), device=images.device)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[:, None, None]
    return images[which, channels, rows[:, None, :, None], columns[:, None, None, :]]
