"""Images of a face set changed in one way: degraded for robustness curves, or augmented.

A change is applied to the picture as it is stored (its centre square, at most `MOST_SIDE` wide),
so that every encoder and baseline sees the same changed picture, whatever size it takes. What is
drawn at random is drawn for each picture by its key and the seed: it depends neither on the batch
nor, but for its strength, on the level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ssl_faces.data import BadImage, FaceSet
from ssl_faces.data.faces import Shrink, whole
from ssl_faces.data.pictures import square

MOST_SIDE = 256

Apply = Callable[[Tensor, float, list[int]], Tensor]
"""Changed pictures [B, 3, S, S] of pictures in [0, 1], a level, and a seed for each picture."""


@dataclass(frozen=True)
class Change:
    """One way to change images.

    Attributes:
        factor, level, unit: what is changed, and how strongly.
        drawn: something is drawn at random, so that the seed counts.
    """

    factor: str
    level: float
    unit: str
    drawn: bool
    apply: Apply

    def name(self, seed: int) -> str:
        return f"{self.factor}-{self.level:g}" + (f"-seed-{seed}" if self.drawn else "")


def _square(pixels: np.ndarray) -> np.ndarray:
    return square(pixels, min(*pixels.shape[:2], MOST_SIDE))


class ChangedFaces(FaceSet):
    """A face set with its images changed; records as there.

    Args:
        seed: of what is drawn.
        hashes: content of the images by record, where it is known already.
    """

    def __init__(
        self, faces: FaceSet, change: Change, seed: int, hashes: Mapping[int, bytes] | None = None
    ) -> None:
        super().__init__(f"{faces.name}-{change.name(seed)}", faces.part, faces.records)
        self.faces = faces
        self.change = change
        self.seed = seed
        self._hashes = hashes or {}

    def content_hash(self, index: int) -> bytes:
        content = self._hashes.get(index) or self.faces.content_hash(index)
        return hashlib.sha256(self.change.name(self.seed).encode() + content).digest()

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        (picture,) = self.read_many([index], at_least)
        if isinstance(picture, BadImage):
            raise picture
        return picture

    def read_many(
        self,
        indices: Sequence[int],
        at_least: int | None = None,
        workers: int = 4,
        shrink: Shrink = whole,
    ) -> list[np.ndarray | BadImage]:
        # Always at the same size, whatever `at_least` is.
        pictures = self.faces.read_many(indices, MOST_SIDE, workers, _square)
        places: dict[int, list[int]] = {}
        for place, picture in enumerate(pictures):
            if not isinstance(picture, BadImage):
                places.setdefault(picture.shape[-1], []).append(place)
        for alike in places.values():
            pixels = np.stack([self._picture(pictures[i]) for i in alike])
            seeds = [self._seed_of(indices[i]) for i in alike]
            changed = _changed(self.change, torch.from_numpy(pixels), seeds)
            for place, picture in zip(alike, changed, strict=True):
                pictures[place] = shrink(picture)
        return pictures

    @staticmethod
    def _picture(found: np.ndarray | BadImage) -> np.ndarray:
        if isinstance(found, BadImage):
            raise found
        return found

    def _seed_of(self, index: int) -> int:
        text = f"{self.change.factor} {self.seed} {self.records[index].key}"
        digest = hashlib.sha256(text.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:7], "big")


@torch.inference_mode()
def _changed(change: Change, pixels: Tensor, seeds: list[int]) -> np.ndarray:
    """uint8 [B, S, S, 3] of uint8 [B, 3, S, S]."""
    changed = change.apply(pixels.float() / 255, change.level, seeds)
    levels = (changed.clamp(0, 1) * 255).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().numpy()
