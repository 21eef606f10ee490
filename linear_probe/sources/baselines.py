"""Features that nothing was learnt for, which an encoder has to beat: raw pixels, HOG, LBP."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from skimage.feature import hog, local_binary_pattern
from torch import Tensor

from ssl_faces import InputError
from ssl_faces.data.hog import CELL, DIRECTIONS, hog_length
from ssl_faces.data.near_copies import LUMA

LBP_PATTERNS = 59
"""Patterns of 8 neighbours in LBP: the 58 uniform ones, and one for all others."""


class Baseline(ABC):
    """A feature source (see `linear_probe.features.frozen.Source`) of grey pictures, 0 to 1.

    Args:
        size: side to which pictures are resized.
    """

    name: str

    def __init__(self, size: int) -> None:
        self.input_size = size
        self.space = f"grey {size}x{size}"
        self.dims = {self.space: self._dim(size)}
        self.fingerprint = hashlib.sha256(f"grey {self.name} {size}".encode()).hexdigest()

    def to(self, device: str) -> None:
        del device  # nothing to move

    def __call__(self, images: Tensor) -> dict[str, Tensor]:
        """Features [B, D] of RGB images float [B, 3, S, S] in [0, 1]."""
        grey = torch.einsum("bchw,c->bhw", images, images.new_tensor(LUMA))
        return {self.space: self._features(grey)}

    @abstractmethod
    def _dim(self, size: int) -> int: ...

    @abstractmethod
    def _features(self, grey: Tensor) -> Tensor:
        """Features [B, D] of grey pictures [B, S, S] in [0, 1]."""


class PixelSource(Baseline):
    """The raw pixels, row by row."""

    name = "pixels"

    def _dim(self, size: int) -> int:
        return size * size

    def _features(self, grey: Tensor) -> Tensor:
        return grey.flatten(1)


class HogSource(Baseline):
    """Histograms of oriented gradients: 9 directions, cells of 8x8 pixels, blocks of 2x2 cells.

    Source: Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005.
    """

    name = "HOG"

    def _dim(self, size: int) -> int:
        return hog_length(size)

    def _features(self, grey: Tensor) -> Tensor:
        # scikit-image's, which sums in single precision: kept figures rest on its last digits.
        cells, blocks = (CELL, CELL), (2, 2)
        rows = [
            hog(image, orientations=DIRECTIONS, pixels_per_cell=cells, cells_per_block=blocks)
            for image in grey.cpu().numpy()
        ]
        return torch.from_numpy(np.stack(rows)).float()


class LbpSource(Baseline):
    """Local binary patterns: histograms of the uniform patterns in cells of 8x8 pixels.

    Source: Ahonen, Hadid and Pietikainen, "Face Description with Local Binary Patterns",
    PAMI 2006.
    """

    name = "LBP"

    def _dim(self, size: int) -> int:
        return LBP_PATTERNS * (size // CELL) ** 2

    def _features(self, grey: Tensor) -> Tensor:
        count = grey.shape[1] // CELL
        side = count * CELL
        levels = (grey.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        codes = np.stack([local_binary_pattern(x, 8, 1, "nri_uniform") for x in levels])
        codes = codes[:, :side, :side].astype(np.int64)
        cells = codes.reshape(-1, count, CELL, count, CELL).transpose(0, 1, 3, 2, 4)
        rows = cells.reshape(-1, CELL * CELL)
        # All cells' histograms in one count.
        offsets = np.arange(len(rows))[:, None] * LBP_PATTERNS
        counts = np.bincount((rows + offsets).ravel(), minlength=len(rows) * LBP_PATTERNS)
        return torch.from_numpy(counts.reshape(len(codes), -1) / CELL**2).float()


BASELINES: tuple[type[Baseline], ...] = (PixelSource, HogSource, LbpSource)
"""The baselines of every table."""

RESNET18, UNTRAINED = "resnet18", "untrained"
NAMES = (*(baseline.name for baseline in BASELINES), RESNET18, UNTRAINED)
"""What a run can be compared with: `BASELINES`, ImageNet's ResNet-18, the untrained encoders."""


def baselines_named(asked: bool | Sequence[str]) -> frozenset[str]:
    """Some of `NAMES`; True is all of them; InputError for another name."""
    if isinstance(asked, bool):
        return frozenset(NAMES) if asked else frozenset()
    for name in asked:
        if name not in NAMES:
            known = ", ".join(NAMES)
            raise InputError(f"--baselines: '{name}'; give all, none, or some of {known}")
    return frozenset(asked)
