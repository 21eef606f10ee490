"""Alignment: a face moved, turned and scaled so that its landmarks come to rest on a template."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

TEMPLATE = np.array([[0.32, 0.40], [0.68, 0.40], [0.50, 0.60], [0.345, 0.79], [0.655, 0.79]])
"""Where eyes, nose and the mouth's corners come to lie, as shares of the crop's side: as they lie
on average in the crops of LFW and FER-2013 that the workbench trains on, made symmetric (measured
with MTCNN; either set is within 0.01 of it)."""


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The similarity transform (turn, scale, shift; no mirroring) that brings points nearest to
    targets by least squares: [2, 3], for [P, 2] both.

    In complex numbers it is w = a z + b, so that the fit is linear.
    """
    z, w = (one[:, 0] + 1j * one[:, 1] for one in (points.astype(float), targets.astype(float)))
    around = z - z.mean()
    spread = float(np.sum(np.abs(around) ** 2))
    a = np.sum(around.conj() * (w - w.mean())) / spread if spread else 0j
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def aligned(picture: np.ndarray, landmarks: np.ndarray, size: int) -> tuple[np.ndarray, float]:
    """The face of a picture, upright and cut out, antialiased where it is shrunk.

    Beyond the picture's edge its outermost pixels go on.

    Args:
        picture: uint8 RGB [H, W, 3].
        landmarks: [5, 2], see `Faces`.
        size: side of the crop.

    Returns:
        uint8 RGB [size, size, 3], and the share of it that lies within the picture.
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
    # A few pixels more than the crop, so that resampling at its edge has something to take.
    reach = 2 + math.ceil(2 / zoom)
    left, top = np.floor(corners.min(0)).astype(int) - reach
    right, bottom = np.ceil(corners.max(0)).astype(int) + reach
    if inside == 0 or max(right - left, bottom - top) > 4 * (max(width, height) + reach):
        return empty, inside
    rows = np.clip(np.arange(top, bottom), 0, height - 1)
    columns = np.clip(np.arange(left, right), 0, width - 1)
    part = Image.fromarray(picture[rows[:, None], columns])
    # Pillow's transform takes single pixels: what is shrunk is averaged first.
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
    """Which share of a crop's pixels come from within a picture."""
    at = (np.arange(16) + 0.5) * size / 16
    grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2) @ back[:, :2].T + back[:, 2]
    return float(np.mean(((grid >= 0) & (grid < (width, height))).all(1)))
