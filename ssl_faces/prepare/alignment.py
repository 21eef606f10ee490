"""Alignment: transform a face so that its landmarks match a template."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

TEMPLATE = np.array([[0.32, 0.40], [0.68, 0.40], [0.50, 0.60], [0.345, 0.79], [0.655, 0.79]])
"""Eyes, nose and mouth corners as shares of the crop's side: their mean in the crops of LFW and
FER-2013 that the workbench trains on, made symmetric (by MTCNN; each set is within 0.01)."""


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


def aligned(picture: np.ndarray, landmarks: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """An upright, antialiased crop of a face. Edge pixels are repeated beyond the image.

    Args:
        picture: uint8 RGB [H, W, 3].
        landmarks: [5, 2], see `Faces`.
        size: side of the crop.

    Returns:
        uint8 RGB [size, size, 3], and the share of it that lies within the image.
    """
    height, width = picture.shape[:2]
    empty = np.zeros((size, size, 3), np.uint8)
    if not np.isfinite(landmarks).all():
        return empty, 0.0
    forward = similarity(landmarks, TEMPLATE * size)
    zoom = float(np.hypot(forward[0, 0], forward[1, 0]))
    if zoom < 1e-6:
        return empty, 0.0
    back = np.linalg.inv(np.vstack((forward, [0, 0, 1])))[:2]
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], float)
    corners = corners @ back[:, :2].T + back[:, 2]
    inside = _inside(back, size, width, height)
    # A margin for resampling at the edge of the crop.
    reach = 2 + math.ceil(2 / zoom)
    left, top = np.floor(corners.min(0)).astype(int) - reach
    right, bottom = np.ceil(corners.max(0)).astype(int) + reach
    if inside == 0 or max(right - left, bottom - top) > 4 * (max(width, height) + reach):
        return empty, inside
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    part = Image.fromarray(picture[rows[:, None], columns])
    # Pillow's transform does not antialias, so average first when shrinking.
    shrink = max(1, int(1 / zoom))
    if shrink > 1:
        part = part.reduce(shrink)
    # From pixels of the crop to pixels of the part.
    to_part = back.copy()
    to_part[:, 2] -= (left, top)
    to_part /= shrink
    face = part.transform(
        (size, size),
        Image.Transform.AFFINE,
        tuple(to_part.ravel().tolist()),
        Image.Resampling.BICUBIC,
    )
    return np.array(face), inside


def _inside(back: np.ndarray, size: int, width: int, height: int) -> float:
    """The share of a crop's pixels that come from within an image."""
    at = (np.arange(16) + 0.5) * size / 16
    grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2) @ back[:, :2].T + back[:, 2]
    return float(np.mean(((grid >= 0) & (grid < (width, height))).all(1)))
