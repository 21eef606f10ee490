"""Face detectors by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import file_hash
from ssl_faces.prepare.faces import FaceDetector, Faces

__all__ = ["FaceDetector", "Faces", "faces_of", "label_of", "open_detector"]

LONGEST_SIDE = 1920
"""Larger images are shrunk to this longer side for detection, so that 100 megapixels take no longer
than three. Crops come from the whole image."""

_YUNET = "face_detection_yunet_2023mar.onnx"
_YUNET_MEND = (
    f"fetch {_YUNET} from https://github.com/opencv/opencv_zoo/tree/main/models/"
    "face_detection_yunet (MIT licence) and give --detector yunet:FILE.onnx"
)
_YUNET_SCORE = 0.7
_YUNET_OVERLAP = 0.3  # OpenCV's default
_YUNET_MOST = 5000


def open_detector(name: str, smallest: float) -> FaceDetector:
    """A detector by its name.

    Args:
        name: `mtcnn`, whose weights are included; or `yunet:FILE.onnx`.
        smallest: side of the smallest faces to detect, in pixels.

    Raises:
        InputError: no such detector, or its package or weights are missing or broken.
    """
    if label_of(name) == "mtcnn":
        from ssl_faces.prepare.mtcnn import MTCNN

        return MTCNN(smallest)
    return YuNet(name.partition(":")[2])


def label_of(name: str) -> str:
    """Identifies a detector and its weights, wherever they are stored, without loading them.

    Raises:
        InputError: no such detector or file.
    """
    kind, _, place = name.partition(":")
    if kind == "yunet":
        return f"yunet:{file_hash(_yunet_file(place))[:16]}"
    if name != "mtcnn":
        raise InputError(f"--detector {name}: not known; give mtcnn, or yunet:FILE.onnx")
    return name


def faces_of(detector: FaceDetector, picture: np.ndarray) -> Faces:
    """The faces of an image of any size: uint8 RGB [H, W, 3]."""
    height, width = picture.shape[:2]
    shrink = LONGEST_SIDE / max(height, width)
    if shrink >= 1:
        return detector(picture)
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=2)
    boxes, scores, landmarks = detector(np.asarray(small))
    scale = np.array([width / size[0], height / size[1]], np.float32)
    return Faces(boxes * np.tile(scale, 2), scores, landmarks * scale)


class YuNet:
    """YuNet (Wu et al. 2023) by OpenCV, from an ONNX file.

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
        _, rows = self._network.detect(np.ascontiguousarray(picture[..., ::-1]))
        if rows is None or not len(rows):
            return Faces.none()
        rows = rows[np.argsort(-rows[:, 14], kind="stable")].astype(np.float32)
        corner, side = rows[:, :2], rows[:, 2:4]
        # The person's right eye is the image's left one.
        points = rows[:, 4:14].reshape(-1, 5, 2)
        return Faces(np.concatenate((corner, corner + side), 1), rows[:, 14], points)


def _yunet_file(place: str) -> Path:
    path = Path(place).expanduser()
    if not place or not path.is_file():
        raise InputError(f"--detector yunet:{place}: no such file; {_YUNET_MEND}")
    return path
