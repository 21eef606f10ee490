"""Views for the contrast of identity codes, without the background."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ssl_faces.pairs.augment import PRESETS, PairAugmentation


class CentredViews(nn.Module):
    """Strong views of pairs, of whose images a random ellipse about the centre is left.

    Outside of it each view has one random colour: two frames of a clip share their background, by
    which contrast would recognise them instead of by the face.

    Args:
        size: side of the images.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        colours = replace(PRESETS["views"], jitter=0.3, hue=0.03, grey_share=0.1)
        self.strong = PairAugmentation(size, colours)
        place = torch.linspace(-1, 1, size)
        self.register_buffer("place", place, persistent=False)
        self.place: Tensor

    @torch.no_grad()
    def forward(self, pairs: Tensor) -> Tensor:
        """Views of pairs [b, 2, 3, S, S] in [0, 1], of the same shape."""

        def draw(low: float, high: float) -> Tensor:
            # On the CPU, so that every device has the same.
            return low + (high - low) * torch.rand(*pairs.shape[:2], 1, 1).to(self.place)

        across = (self.place + draw(-0.1, 0.1)) / draw(0.45, 0.75)
        down = (self.place[:, None] + draw(-0.1, 0.1)) / draw(0.55, 0.9)
        inside = across.square() + down.square() < 1
        colour = torch.rand(*pairs.shape[:3], 1, 1).to(pairs)
        return torch.where(inside[:, :, None], self.strong(pairs), colour)
