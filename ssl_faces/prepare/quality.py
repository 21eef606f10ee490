"""Sharpness of crops, and near-duplicates by perceptual hash."""

from __future__ import annotations

import numpy as np
from PIL import Image

HASH_BITS = 256


def sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian divided by that of the image: 0 without detail, 20 for noise.

    Computed on a crop at training size, uint8 RGB [S, S, 3], so that it measures what training
    sees. The ratio is independent of contrast and brightness.
    """
    grey = crop.astype(np.float64).mean(2)
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    spread = float(middle.var())
    return float((around - 4 * middle).var() / spread) if spread > 1 else 0.0


def perceptual_hash(crop: np.ndarray) -> np.ndarray:
    """bool [256] of a crop's low frequencies (pHash); similar images have similar hashes."""
    import imagehash

    bits: np.ndarray = imagehash.phash(Image.fromarray(crop), hash_size=16).hash
    return bits.ravel()


class NearDuplicates:
    """The hashes so far. All are compared: 100,000 hashes take about half a millisecond.

    Args:
        most: bits in which near-duplicates may differ.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._keys: list[str] = []
        self._words = np.zeros((1024, HASH_BITS // 64), np.uint64)

    def add(self, bits: np.ndarray, key: str) -> str | None:
        """The first key whose hash nearly equals `bits`, bool [256]; if there is none, add them."""
        words = np.packbits(bits).view(np.uint64)
        count = len(self._keys)
        differ = np.bitwise_count(self._words[:count] ^ words).sum(1, dtype=np.int64)
        near = np.flatnonzero(differ <= self.most)
        if len(near):
            return self._keys[near[0]]
        if count == len(self._words):
            self._words = np.concatenate((self._words, np.zeros_like(self._words)))
        self._words[count] = words
        self._keys.append(key)
        return None
