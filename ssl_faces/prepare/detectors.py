"""Face detectors behind one interface: a picture to boxes, scores and five landmarks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.data.store.shards import file_hash

LONGEST_SIDE = 1920
"""Faces are looked for at this many pixels along the longer side at most, so that a picture of
100 megapixels takes no longer than one of three. Crops come from the whole picture."""

_YUNET = "face_detection_yunet_2023mar.onnx"
_YUNET_PLACE = "https://github.com/opencv/opencv_zoo/tree/main/models/face_detection_yunet"
_YUNET_MEND = (
    f"fetch {_YUNET} from {_YUNET_PLACE} (MIT licence) and give --detector yunet:FILE.onnx"
)
_YUNET_SCORE = 0.7
_YUNET_OVERLAP = 0.3  # OpenCV's default
_YUNET_MOST = 5000


class Faces(NamedTuple):
    """The faces of one picture, best first.

    Left and right are the picture's, not the person's. Boxes and landmarks are in pixels of the
    picture, from the left upper corner of its first pixel, and may stick out.
    """

    boxes: np.ndarray  # float32 [F, 4]: left, top, right, bottom
    scores: np.ndarray  # float32 [F], 0 to 1
    landmarks: np.ndarray  # float32 [F, 5, 2]: left eye, right eye, nose, mouth's left, its right

    @staticmethod
    def none() -> Faces:
        return Faces(
            np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32)
        )


class FaceDetector(Protocol):
    """Finds faces."""

    def __call__(self, picture: np.ndarray) -> Faces:
        """The faces of a picture, uint8 RGB [H, W, 3]."""


def open_detector(given: str, smallest: float) -> FaceDetector:
    """A detector by its name.

    Args:
        given: `mtcnn`, whose weights are here; or `yunet:FILE.onnx`.
        smallest: side of the smallest faces to look for, in pixels.

    Raises:
        InputError: no such detector, or its package or weights are missing or broken.
    """
    if label_of(given) == "mtcnn":
        from ssl_faces.prepare.mtcnn import MTCNN

        return MTCNN(smallest)
    return YuNet(given.partition(":")[2])


def label_of(given: str) -> str:
    """What tells a detector and its weights, wherever they lie, without loading them.

    Raises:
        InputError: no such detector or file.
    """
    kind, _, place = given.partition(":")
    if kind == "yunet":
        return f"yunet:{file_hash(_yunet_file(place))[:16]}"
    if given != "mtcnn":
        raise InputError(f"--detector {given}: not known; give mtcnn, or yunet:FILE.onnx")
    return given


def faces_of(detector: FaceDetector, picture: np.ndarray) -> Faces:
    """What `detector` finds in a picture of any size: uint8 RGB [H, W, 3]."""
    height, width = picture.shape[:2]
    shrink = LONGEST_SIDE / max(height, width)
    if shrink >= 1:
        return detector(picture)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2)
    found = detector(np.asarray(small))
    scale = np.array([width / size[0], height / size[1]], np.float32)
    return Faces(found.boxes * np.tile(scale, 2), found.scores, found.landmarks * scale)


class YuNet:
    """YuNet (Wu et al. 2023) by OpenCV, from a model file.

    Args:
        place: the ONNX file.

    Raises:
        InputError: OpenCV is missing, or the file is missing or no such network.
    """

    def __init__(self, place: str) -> None:
        path = _yunet_file(place)
        try:
            import cv2
        except ImportError as error:
            raise InputError(
                f"--detector yunet:{place} needs OpenCV; pip install opencv-python-headless"
            ) from error
        try:
            self._network = cv2.FaceDetectorYN.create(
                str(path), "", (64, 64), _YUNET_SCORE, _YUNET_OVERLAP, _YUNET_MOST
            )
            self(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise InputError(f"--detector yunet:{place}: not a YuNet; {_YUNET_MEND}") from error

    def __call__(self, picture: np.ndarray) -> Faces:
        self._network.setInputSize((picture.shape[1], picture.shape[0]))
        _, found = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))
        if found is None or not len(found):
            return Faces.none()
        found = found[np.argsort(-found[:, 14], kind="stable")].astype(np.float32)
        corner, side = found[:, :2], found[:, 2:4]
        # The person's right eye is the picture's left one.
        points = found[:, 4:14].reshape(-1, 5, 2)
        return Faces(np.concatenate((corner, corner + side), 1), found[:, 14], points)


def _yunet_file(place: str) -> Path:
    path = Path(place).expanduser()
    if not place or not path.is_file():
        raise InputError(f"--detector yunet:{place}: no such file; {_YUNET_MEND}")
    return path
