"""Detected faces, and the interface of detectors."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np


class Faces(NamedTuple):
    """The faces of an image, best first.

    Left and right are the image's, not the person's. Boxes and landmarks are in pixels of the
    image, from the left upper corner of its first pixel, and may lie outside.
    """

    boxes: np.ndarray  # float32 [F, 4]: left, top, right, bottom
    scores: np.ndarray  # float32 [F], 0 to 1
    landmarks: np.ndarray  # float32 [F, 5, 2]: left eye, right eye, nose, mouth's left, its right

    @staticmethod
    def none() -> Faces:
        return Faces(*(np.zeros(shape, np.float32) for shape in ((0, 4), 0, (0, 5, 2))))


class FaceDetector(Protocol):
    """Detects faces."""

    def __call__(self, picture: np.ndarray) -> Faces:
        """The faces of an image, uint8 RGB [H, W, 3]."""
