"""Alignment: transform a face so that its landmarks match a template."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.prepare.numpy_alignment import TEMPLATE, five_points, similarity, window_of

__all__ = ["TEMPLATE", "align", "aligned", "similarity"]


def align(image: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """An upright, antialiased crop of a face, as encoders are trained on.

    The similarity transform (shift, rotation, scale) that brings the five landmarks closest to
    `TEMPLATE`, in least squares. `ssl_faces/prepare/numpy_alignment.py` has the same function in
    numpy alone, to copy to where an exported encoder runs.

    Args:
        image: uint8 RGB [H, W, 3].
        landmarks: [5, 2]: left eye, right eye, nose, left and right mouth corner (the image's left
            and right), or [68, 2] of iBUG 300-W. x and y in pixels from the left upper corner of
            the first pixel, whose centre is (0.5, 0.5).
        size: side of the crop: `encoder.input_size`.

    Returns:
        uint8 RGB [size, size, 3].

    Raises:
        InputError: another kind of image or of landmarks, or landmarks that fit no face in it.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        kind = f"{image.dtype} {list(image.shape)}"
        raise InputError(f"align: an image of {kind}; give uint8 RGB [H, W, 3]")
    if size < 1:
        raise InputError(f"align: a size of {size}; give pixels a side, such as input_size")
    try:
        crop, inside = aligned(image, five_points(landmarks), size)
    except ValueError as error:
        raise InputError(f"align: {error}") from error
    if not inside:
        raise InputError("align: the landmarks fit no face in this image; give its x and y")
    return crop


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
    window = window_of(landmarks, size, width, height)
    inside = 0.0 if window is None else _inside(window.back, size, width, height)
    if window is None or not inside:
        return np.zeros((size, size, 3), np.uint8), 0.0
    part = Image.fromarray(picture[window.rows[:, None], window.columns])
    # Pillow's transform does not antialias, so average first when shrinking.
    if window.shrink > 1:
        part = part.reduce(window.shrink)
    face = part.transform(
        (size, size),
        Image.Transform.AFFINE,
        tuple(window.to_part.ravel().tolist()),
        Image.Resampling.BICUBIC,
    )
    return np.array(face), inside


def _inside(back: np.ndarray, size: int, width: int, height: int) -> float:
    """The share of a crop's pixels that come from within an image."""
    at = (np.arange(16) + 0.5) * size / 16
    grid = np.stack(np.meshgrid(at, at), -1).reshape(-1, 2) @ back[:, :2].T + back[:, 2]
    return float(np.mean(((grid >= 0) & (grid < (width, height))).all(1)))
