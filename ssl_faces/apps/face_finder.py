"""Faces in an image: detected and cropped, or the whole image."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import numpy as np

from ssl_faces.common.errors import InputError
from ssl_faces.data.pictures import BadImage, square
from ssl_faces.prepare.detectors import FaceDetector, faces_of, open_detector
from ssl_faces.prepare.reading import Settings, judged

Detect = Literal["auto", "always", "never"]

_KEPT = Settings(min_sharpness=0.0)  # blurred images that the user gives are wanted

CROP_SIDE = 128
"""With `auto`, images and videos of at most this many pixels a side are face crops."""


class FaceCrop(NamedTuple):
    """A face of an image.

    Attributes:
        pixels: uint8 RGB [S, S, 3].
        box: left, top, right, bottom in pixels of the image; None if it was taken whole.
        score: of the detector, 0 to 1; 1 if it was taken whole.
        landmarks: x and y of the eyes, the nose and the corners of the mouth, [5, 2]; None if it
            was taken whole.
    """

    pixels: np.ndarray
    box: tuple[float, float, float, float] | None
    score: float
    landmarks: np.ndarray | None = None

    @property
    def area(self) -> float:
        left, top, right, bottom = self.box or (0.0,) * 4
        return (right - left) * (bottom - top)


class FaceFinder:
    """Finds the faces of images and crops them to one size.

    Args:
        size: side of the crops.
        detect: `always` detects faces; `never` takes the centre square of every image as a face;
            `auto` does so with images of at most 128 pixels a side.
        detector: see `open_detector`.

    Raises:
        InputError: no such `detect`.
    """

    def __init__(self, size: int, detect: Detect = "auto", detector: str = "mtcnn") -> None:
        if detect not in get_args(Detect):
            raise InputError(f"--detect {detect}: give {', '.join(get_args(Detect))}")
        self.size, self.detect, self.detector = size, detect, detector
        self._open: FaceDetector | None = None

    def __call__(self, picture: np.ndarray) -> list[FaceCrop]:
        """The faces of an image, uint8 RGB [H, W, 3], the largest first.

        Raises:
            BadImage: it has no usable face; the reason.
            InputError: the detector can't be loaded.
        """
        is_small = max(picture.shape[:2]) <= CROP_SIDE
        if self.detect == "never" or (self.detect == "auto" and is_small):
            return [FaceCrop(square(picture, self.size).transpose(1, 2, 0), None, 1.0)]
        if self._open is None:
            self._open = open_detector(self.detector, 0.8 * _KEPT.min_face)
        kept, reasons = [], []
        settings = replace(_KEPT, size=self.size)
        for row, pixels in judged(picture, faces_of(self._open, picture), settings):
            if row.reason:
                reasons.append(row.reason)
            else:
                left, top, right, bottom = row.box or (0.0,) * 4
                points = np.array(row.landmarks)
                kept.append(FaceCrop(pixels, (left, top, right, bottom), row.score, points))
        if not kept:
            if reasons:
                raise BadImage(f"no face that can be used ({reasons[0]})")
            raise BadImage("no face found (--detect never takes it as a face crop)")
        return sorted(kept, key=lambda face: face.area, reverse=True)
