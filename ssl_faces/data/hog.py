"""Histograms of oriented gradients (HOG) of many grey images at once.

Source: Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005; with
the constants of scikit-image's `hog`, which takes one image at a time and longer.
"""

from __future__ import annotations

import numpy as np

CELL = 8
"""Side of a cell in pixels; blocks are of 2x2 cells."""

DIRECTIONS = 9

_LARGEST = 0.2  # of a block of length 1: larger values are cut off (L2-Hys)
_EPSILON = 1e-5


def hog_length(size: int) -> int:
    """Length of the descriptor of an image with this side."""
    return 4 * DIRECTIONS * (size // CELL - 1) ** 2


def hog(grey: np.ndarray) -> np.ndarray:
    """Descriptors float32 [N, hog_length(S)] of images float32 [N, S, S]."""
    images, count = len(grey), grey.shape[1] // CELL
    down, right = np.zeros((2, *grey.shape))
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    right[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    # Rounding can give 180 degrees, a tenth direction that is dropped.
    direction = (np.rad2deg(np.arctan2(down, right)) % 180 // (180 / DIRECTIONS)).astype(np.int64)
    cell = np.arange(count * CELL) // CELL
    cells = cell[:, None] * count + cell + count * count * np.arange(images)[:, None, None]
    inside = np.s_[:, : len(cell), : len(cell)]
    bins = (cells * (DIRECTIONS + 1) + direction[inside]).ravel()
    strength = np.hypot(right, down)[inside].ravel()
    counts = np.bincount(bins, strength, images * count * count * (DIRECTIONS + 1))
    cells = counts.reshape(images, count, count, DIRECTIONS + 1)[..., :DIRECTIONS] / CELL**2
    pairs = np.stack((cells[:, :, :-1], cells[:, :, 1:]), axis=3)
    blocks = np.stack((pairs[:, :-1], pairs[:, 1:]), axis=3)
    blocks = np.minimum(_unit(blocks), _LARGEST)
    descriptors: np.ndarray = _unit(blocks).reshape(images, hog_length(grey.shape[1]))
    return descriptors.astype(np.float32)


def _unit(blocks: np.ndarray) -> np.ndarray:
    """Blocks [..., 2, 2, DIRECTIONS] of length 1."""
    squares = (blocks**2).sum(axis=(-3, -2, -1), keepdims=True)
    unit: np.ndarray = blocks / np.sqrt(squares + _EPSILON**2)
    return unit
