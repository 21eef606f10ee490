"""Alignment of a face in numpy alone: copy this file to where encoders run without this package.

Crops equal those of `ssl_faces.align` to one grey level.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

LANDMARKS = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
"""Left and right are the image's, not the person's."""

TEMPLATE = np.array([[0.32, 0.40], [0.68, 0.40], [0.50, 0.60], [0.345, 0.79], [0.655, 0.79]])
"""Eyes, nose and mouth corners as shares of the crop's side: their mean in the crops of LFW and
FER-2013 that the workbench trains on, made symmetric (by MTCNN; each set is within 0.01)."""

FIVE_OF_68 = (range(36, 42), range(42, 48), (30,), (48,), (54,))
"""Indices, from 0, of the 68 points of iBUG 300-W whose means are the five landmarks."""


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Five landmarks [5, 2] of 5 or 68 (iBUG 300-W), [P, 2 or more]: further columns are ignored.

    Raises:
        ValueError: another shape.
    """
    points = np.asarray(landmarks, float)
    if points.ndim != 2 or points.shape[1] < 2 or len(points) not in (5, 68):
        raise ValueError(f"landmarks of shape {list(points.shape)}; give [5, 2] or [68, 2]")
    points = points[:, :2]
    return points if len(points) == 5 else np.stack([points[[*i]].mean(0) for i in FIVE_OF_68])


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Least-squares similarity transform (without mirroring) of points to targets, [P, 2] both:
    [2, 3].

    In complex numbers it is w = a z + b, so the fit is linear.
    """
    z, w = (p[:, 0] + 1j * p[:, 1] for p in (points.astype(float), targets.astype(float)))
    around = z - z.mean()
    spread = float(np.sum(np.abs(around) ** 2))
    a = np.sum(around.conj() * (w - w.mean())) / spread if spread else 0j
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


class Window(NamedTuple):
    """The part of an image that a crop is resampled from.

    Attributes:
        rows, columns: indices of the part's pixels in the image; edge pixels are repeated.
        shrink: the part is first averaged over squares of this side, against aliasing.
        to_part: [2, 3], from coordinates of the crop to those of the averaged part.
        back: [2, 3], from coordinates of the crop to those of the image.
    """

    rows: np.ndarray
    columns: np.ndarray
    shrink: int
    to_part: np.ndarray
    back: np.ndarray


def window_of(landmarks: np.ndarray, size: int, width: int, height: int) -> Window | None:
    """The window of a crop of `size` pixels a side in an image; None if the landmarks are none:
    not finite, all in one place, or far outside."""
    if not np.isfinite(landmarks).all():
        return None
    forward = similarity(landmarks, TEMPLATE * size)
    zoom = float(np.hypot(forward[0, 0], forward[1, 0]))
    if zoom < 1e-6:
        return None
    back = np.linalg.inv(np.vstack((forward, [0, 0, 1])))[:2]
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], float)
    corners = corners @ back[:, :2].T + back[:, 2]
    # A margin for resampling at the edge of the crop.
    reach = 2 + math.ceil(2 / zoom)
    left, top = np.floor(corners.min(0)).astype(int) - reach
    right, bottom = np.ceil(corners.max(0)).astype(int) + reach
    outside = right <= 0 or bottom <= 0 or left >= width or top >= height
    if outside or max(right - left, bottom - top) > 4 * (max(width, height) + reach):
        return None
    shrink = max(1, int(1 / zoom))
    to_part = back.copy()
    to_part[:, 2] -= (left, top)
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    return Window(rows, columns, shrink, to_part / shrink, back)


def align(image: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """An upright, antialiased crop of a face.

    Args:
        image: uint8 RGB [H, W, 3].
        landmarks: [5, 2] in the order of `LANDMARKS`, or [68, 2] of iBUG 300-W: x and y in pixels
            from the left upper corner of the first pixel, whose centre is (0.5, 0.5).
        size: side of the crop.

    Returns:
        uint8 RGB [size, size, 3].

    Raises:
        ValueError: landmarks of another shape, or that fit no face in this image.
    """
    window = window_of(five_points(landmarks), size, image.shape[1], image.shape[0])
    if window is None:
        raise ValueError("the landmarks fit no face in this image")
    part = _averaged(image[window.rows[:, None], window.columns], window.shrink)
    at = np.arange(size) + 0.5
    x, y = (row[0] * at[None, :] + row[1] * at[:, None] + row[2] - 0.5 for row in window.to_part)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    across, down = _cubic(x - left), _cubic(y - top)
    height, width = part.shape[:2]
    crop = np.zeros((size, size, 3))
    for i in range(4):
        row = np.clip(top + i - 1, 0, height - 1)
        for j in range(4):
            column = np.clip(left + j - 1, 0, width - 1)
            crop += (down[i] * across[j])[..., None] * part[row, column]
    return np.clip(crop, 0, 255).astype(np.uint8)


def _averaged(part: np.ndarray, shrink: int) -> np.ndarray:
    """Means over squares of `shrink` pixels a side, rounded; those at the edge may be smaller."""
    if shrink == 1:
        return part
    sums = part.astype(np.int64)
    for axis in (0, 1):
        length = sums.shape[axis]
        starts = np.arange(0, length, shrink)
        sums = np.add.reduceat(sums, starts, axis)
    height, width = (np.minimum(shrink, n - np.arange(0, n, shrink)) for n in part.shape[:2])
    count = (height[:, None] * width)[..., None]
    return (sums + count // 2) // count


def _cubic(d: np.ndarray) -> tuple[np.ndarray, ...]:
    """Weights of four neighbouring pixels at distance d, 0 to 1, from the second: cubic
    convolution with a = -1, as in Pillow's transforms."""
    d2, d3 = d * d, d * d * d
    return 2 * d2 - d - d3, 1 - 2 * d2 + d3, d + d2 - d3, d3 - d2
