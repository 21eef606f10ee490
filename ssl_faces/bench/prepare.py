"""`ssl-faces bench prepare`: detection rate, alignment error and speed of `ssl-faces prepare`.

Faces of real sets are pasted on canvases of noise, so that the place of each face and of its eyes
is known. Reads LFW's crops and the YouTube keypoints.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import SEED, whole
from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.sets.discover import default_data_root, find_face_sets

if TYPE_CHECKING:
    from ssl_faces.prepare.detectors import FaceDetector

Row = dict[str, Value]

_EYES = (slice(36, 42), slice(42, 48))  # of 68 landmarks, iBUG order
_GROUP = 6
_CANVAS = (640, 960)
_ASTRONAUT = np.array([[203.5, 100.9], [247.2, 103.4]])  # pupils, read off an enlargement
_CLOSE = 0.25  # of the distance between the eyes, within which a detected face is this one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="folder with the face sets (the default one)")
    parser.add_argument("--faces", type=whole(_GROUP, 100_000), default=60, help="of each set (60)")
    parser.add_argument("--detector", default="mtcnn", help="mtcnn, or yunet:FILE.onnx (mtcnn)")
    parser.add_argument("--seed", type=SEED, default=0, help="of the faces and their places (0)")


def measure(arguments: argparse.Namespace) -> Result:
    """Detection rates, errors of the eyes, and faces per second.

    Raises:
        InputError: bad input, or the folder lacks the sets.
    """
    from ssl_faces.prepare.reading import Settings
    from ssl_faces.prepare.workers import detector_for

    root = arguments.data or default_data_root()
    sets = {faces.name: faces for faces in find_face_sets(root, "all")}
    for name in ("lfw", "youtube_keypoints"):
        if name not in sets:
            raise InputError(f"bench prepare reads {name}; give the folder that holds it as --data")
    detector = detector_for(replace(Settings(), detector=arguments.detector))
    draw = np.random.default_rng(arguments.seed)

    def chosen(faces: FaceSet) -> list[int]:
        count = min(arguments.faces, len(faces))
        rows: list[int] = draw.choice(len(faces), count, replace=False).tolist()
        return rows

    people, crops = sets["youtube_keypoints"], sets["lfw"]
    rows, lfw = chosen(people), chosen(crops)
    return Result(
        "prepare",
        {"detector": arguments.detector, "faces": arguments.faces, "seed": arguments.seed},
        [
            _alone(detector, people, rows, draw),
            _groups("groups of YouTube's frames", detector, people, rows, draw),
            _groups("groups of LFW's crops", detector, crops, lfw, draw),
            _astronaut(detector),
            _nobody(detector, draw, arguments.faces // _GROUP),
        ],
        [
            "Eyes: mean distance of detected eyes from the labelled ones (means of 6 landmarks "
            "each), as a share of the distance between the eyes."
        ],
    )


class _Pasted(NamedTuple):
    """A face on a canvas; `eyes` [2, 2] in its pixels, None without labels."""

    eyes: np.ndarray | None
    left: int
    top: int
    side: int


def _noise(draw: np.random.Generator, shape: tuple[int, int] = _CANVAS) -> np.ndarray:
    """Coarse and fine grains without a face."""
    small = draw.integers(60, 200, (shape[0] // 16, shape[1] // 16, 3), dtype=np.uint8)
    grains = np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))
    return np.clip(grains + draw.normal(0, 6, grains.shape), 0, 255).astype(np.uint8)


def _paste(canvas: np.ndarray, faces: FaceSet, row: int, left: int, top: int, side: int) -> _Pasted:
    """Paste a square face on a canvas."""
    face = faces.read(row)
    resized = Image.fromarray(face).resize((side, side), Image.Resampling.LANCZOS)
    canvas[top : top + side, left : left + side] = np.asarray(resized)
    points = faces.records[row].labels.get("landmarks")
    if points is None:
        return _Pasted(None, left, top, side)
    eyes = np.stack([np.asarray(points)[eye].mean(0) for eye in _EYES])
    return _Pasted(eyes * (side / face.shape[0]) + (left, top), left, top, side)


def _row(
    what: str, faces: int, errors: Sequence[float], found: int, false: int, seconds: float
) -> Row:
    return {
        "what": what,
        "faces": faces,
        "found %": 100 * found / faces if faces else None,
        "not faces": false,
        "eyes, mean": float(np.mean(errors)) if errors else None,
        "eyes, 95th percentile": float(np.percentile(errors, 95)) if errors else None,
        "faces/s of a core": found / seconds if faces else None,
        "pictures/s of a core": None,
    }


class _Score:
    """Detections of one kind of image, compared with the faces that were pasted."""

    def __init__(self, what: str, detector: FaceDetector) -> None:
        self.what, self.detector = what, detector
        self.faces = self.hits = self.false = 0
        self.seconds = 0.0
        self.errors: list[float] = []

    def add(self, image: np.ndarray, pasted: Sequence[_Pasted]) -> None:
        """Detect the faces of an image."""
        eyes, seconds = _detect(self.detector, image)
        self.seconds += seconds
        hits = sum(self._is_hit(eyes, face) for face in pasted)
        self.faces += len(pasted)
        self.hits += hits
        self.false += len(eyes) - hits

    def _is_hit(self, eyes: np.ndarray, face: _Pasted) -> bool:
        if face.eyes is None:  # the middle of the eyes lies in the upper part of the face
            middle = eyes.mean(1) - (face.left, face.top)
            return bool(((middle > 0) & (middle < (face.side, 0.6 * face.side))).all(1).any())
        if not len(eyes):
            return False
        apart = float(np.linalg.norm(face.eyes[0] - face.eyes[1]))
        error = float((np.linalg.norm(eyes - face.eyes, axis=2).mean(1) / apart).min())
        if error < _CLOSE:
            self.errors.append(error)
        return error < _CLOSE

    def row(self) -> Row:
        return _row(self.what, self.faces, self.errors, self.hits, self.false, self.seconds)


def _alone(
    detector: FaceDetector, faces: FaceSet, rows: Sequence[int], draw: np.random.Generator
) -> Row:
    """One face per image, of 120 to 300 px."""
    score = _Score("one of YouTube's frames", detector)
    for row in rows:
        side = int(draw.integers(120, 300))
        canvas = _noise(draw, (320, 480))
        left, top = int(draw.integers(0, 480 - side)), int(draw.integers(0, 320 - side))
        score.add(canvas, [_paste(canvas, faces, row, left, top, side)])
    return score.row()


def _groups(
    what: str,
    detector: FaceDetector,
    faces: FaceSet,
    rows: Sequence[int],
    draw: np.random.Generator,
) -> Row:
    """Six faces per image, two rows of three."""
    score = _Score(what, detector)
    for start in range(0, len(rows) - _GROUP + 1, _GROUP):
        canvas = _noise(draw)
        pasted = []
        for i, row in enumerate(rows[start : start + _GROUP]):
            side = int(draw.integers(140, 300))
            left = i % 3 * 320 + int(draw.integers(0, 320 - side))
            top = i // 3 * 320 + int(draw.integers(0, 320 - side))
            pasted.append(_paste(canvas, faces, row, left, top, side))
        score.add(canvas, pasted)
    return score.row()


def _astronaut(detector: FaceDetector) -> Row:
    import skimage.data

    score = _Score("scikit-image's astronaut", detector)
    score.add(skimage.data.astronaut(), [_Pasted(_ASTRONAUT, 0, 0, 0)])
    return score.row()


def _nobody(detector: FaceDetector, draw: np.random.Generator, images: int) -> Row:
    score = _Score("nobody", detector)
    for _ in range(images):
        score.add(_noise(draw), [])
    return {**score.row(), "pictures/s of a core": images / score.seconds}


def _detect(detector: FaceDetector, image: np.ndarray) -> tuple[np.ndarray, float]:
    """The eyes [F, 2, 2] of faces above `prepare`'s least score, and the CPU seconds."""
    from ssl_faces.prepare.detectors import faces_of
    from ssl_faces.prepare.reading import Settings

    began = time.process_time()
    found = faces_of(detector, image)
    seconds = time.process_time() - began
    return found.landmarks[found.scores >= Settings().min_score, :2], seconds
