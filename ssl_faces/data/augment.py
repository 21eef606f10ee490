"""FaceCycle's augmentation of pairs, on the batch, with kornia."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PairAugmentation(nn.Module):
    """Near-identity random crop, mild colour jitter and horizontal flip of pairs.

    The jitter and the flip are drawn once a pair, so that both frames stay two views of one
    recording; the crop once a picture. Defaults: FaceCycle (ICCV 2021), authors' code.

    Args:
        size: side of the pictures.
        crop: smallest and largest scale and ratio of the crop.
        jitter: strength in brightness, contrast and saturation.
        hue: strength in hue.
        jitter_share: probability of the jitter.
    """

    def __init__(
        self,
        size: int,
        crop: tuple[float, float] = (0.95, 1.05),
        jitter: float = 0.05,
        hue: float = 0.01,
        jitter_share: float = 0.8,
    ) -> None:
        super().__init__()
        import kornia.augmentation as K

        self.crop = K.RandomResizedCrop(
            (size, size), scale=crop, ratio=crop, cropping_mode="resample"
        )
        self.both_frames = K.VideoSequential(
            K.ColorJitter(jitter, jitter, jitter, hue, p=jitter_share),
            K.RandomHorizontalFlip(p=0.5),
            data_format="BTCHW",
            same_on_frame=True,
        )

    @torch.no_grad()
    def forward(self, pairs: Tensor) -> Tensor:
        """uint8 or float [0, 1] pairs [b, 2, 3, S, S] to float in [0, 1] of the same shape."""
        if pairs.dtype == torch.uint8:
            pairs = pairs.float() / 255
        cropped = self.crop(pairs.flatten(0, 1)).view_as(pairs)
        augmented: Tensor = self.both_frames(cropped)
        return augmented.clamp(0, 1)
