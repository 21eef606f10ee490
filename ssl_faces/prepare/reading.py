"""Reading a source: detect, align and judge its faces, and link those of videos to clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_faces.data.pictures import BadImage, decode_image
from ssl_faces.prepare.alignment import aligned
from ssl_faces.prepare.detectors import FaceDetector, Faces, faces_of
from ssl_faces.prepare.quality import HASH_BITS, NearDuplicates, perceptual_hash, sharpness
from ssl_faces.prepare.sources import Frame, Source, Video, kind_of
from ssl_faces.prepare.tracks import Tracker

POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
NEAR = "near-duplicate of "
_LEAST_INSIDE = 0.8
GAP = 2.5
"""A clip ends when more frames than this lack its face (two or more)."""


@dataclass(frozen=True)
class Settings:
    """Settings that decide which faces are kept; the same for a whole folder.

    Attributes:
        detector: see `open_detector`.
        size: side of the crops.
        min_face: shorter side of the smallest boxes kept, in pixels.
        min_score: of the detector.
        min_sharpness: see `sharpness`.
        duplicate_bits: of 256, in which the hashes of near-duplicates may differ.
        fps: frames per second of videos to read.
    """

    detector: str = "mtcnn"
    size: int = 64
    min_face: float = 40.0
    min_score: float = 0.9
    min_sharpness: float = 0.04
    duplicate_bits: int = 32
    fps: float = 5.0


@dataclass
class FaceRow:
    """A detected face, kept or not; or, without a box, a remark on the whole source.

    Attributes:
        reason: why it is left out; empty if it is kept.
        key: unique key of the face; empty without a box.
        at: its number among the source's crops, -1 without one.
        time: seconds in the video, -1 in an image.
        box: left, top, right, bottom in pixels of the image or frame.
        landmarks: x and y of `POINTS`.
        clip: of a video's face, `SOURCE#clipN`.
    """

    reason: str = ""
    key: str = ""
    at: int = -1
    time: float = -1.0
    frame: int = 0
    box: list[float] | None = None
    landmarks: list[list[float]] | None = None
    score: float = 0.0
    sharpness: float = 0.0
    clip: str = ""


@dataclass
class SourceFaces:
    """The faces of a source, and the crops of those that may be kept."""

    kind: str  # picture, video or empty
    rows: list[FaceRow]
    crops: np.ndarray  # uint8 [N, S, S, 3]
    hashes: np.ndarray  # uint8 [N, 32]: perceptual hashes, packed


def failed(reason: str, settings: Settings) -> SourceFaces:
    """No faces, and the reason."""
    crops = np.zeros((0, settings.size, settings.size, 3), np.uint8)
    hashes = np.zeros((0, HASH_BITS // 8), np.uint8)
    return SourceFaces("", [FaceRow(reason)], crops, hashes)


def read_source(source: Source, settings: Settings, detector: FaceDetector) -> SourceFaces:
    """Detect the faces of an image or video. A file that can't be used gives a row with the
    reason, and no error. Raises InputError: it can't be fetched from its object store."""
    kind, reason = "", ""
    rows: list[FaceRow] = []
    crops: list[np.ndarray] = []
    hashes: list[np.ndarray] = []
    seen = NearDuplicates(settings.duplicate_bits)

    def read(frame: Frame, tracker: Tracker | None = None) -> None:
        detected = faces_of(detector, frame.pixels)
        faces = judged(frame.pixels, detected, settings)
        bits = [perceptual_hash(crop) for _, crop in faces]
        clips, at_time = [""] * len(faces), ""
        if tracker is not None:
            of_faces = np.array(bits, bool).reshape(-1, HASH_BITS)
            boxes, landmarks = detected.boxes, detected.landmarks
            numbers = tracker.step(frame.time, frame.pixels, boxes, landmarks, of_faces)
            clips = [f"{source.key}#clip{number}" for number in numbers]
            at_time = f"#frame{frame.number}"
        for i, (row, crop) in enumerate(faces):
            row.key, row.clip = f"{source.key}{at_time}#{i}", clips[i]
            row.time, row.frame = round(frame.time, 3), frame.number
            if not row.reason and (near := seen.add(bits[i], row.key)):
                row.reason = NEAR + near
            if not row.reason:
                row.at = len(crops)
                crops.append(crop)
                hashes.append(np.packbits(bits[i]))
            rows.append(row)

    try:
        with source.local() as path:
            kind = kind_of(path)
            if kind == "picture":
                read(Frame(0, -1.0, decode_image(path)))
            else:
                video = Video(path, settings.fps)
                tracker = Tracker(GAP / settings.fps)
                for frame in video:
                    read(frame, tracker)
                reason = video.note
    except BadImage as error:
        reason = str(error)
    except MemoryError:
        reason = "takes more memory than there is"
    none = failed(reason or "no face found", settings)
    if reason or not rows:
        rows += none.rows
    if not crops:
        return SourceFaces(kind, rows, none.crops, none.hashes)
    return SourceFaces(kind, rows, np.stack(crops), np.stack(hashes))


def judged(
    picture: np.ndarray, faces: Faces, settings: Settings
) -> list[tuple[FaceRow, np.ndarray]]:
    """The detected faces of an image, each with its crop uint8 [S, S, 3] and, if it is not kept,
    the reason."""
    rows = []
    for box, score, points in zip(*faces, strict=True):
        crop, inside = aligned(picture, points, settings.size)
        row = FaceRow(
            box=_rounded(box),
            landmarks=_rounded(points),
            score=round(float(score), 4),
            sharpness=round(sharpness(crop), 4),
        )
        row.reason = _refusal(row, inside, settings)
        rows.append((row, crop))
    return rows


def _refusal(row: FaceRow, inside: float, settings: Settings) -> str:
    """Why a face with a box is not kept, or an empty text; `inside` is the share of its crop that
    lies within the image."""
    assert row.box is not None
    side = min(row.box[2] - row.box[0], row.box[3] - row.box[1])
    if row.score < settings.min_score:
        return f"score {row.score:.2f}, below {settings.min_score:g}"
    if side < settings.min_face:
        return f"too small: {side:.0f} px, below {settings.min_face:g}"
    if inside < _LEAST_INSIDE:
        return f"at the picture's edge: {inside:.0%} of the crop lies within"
    if row.sharpness < settings.min_sharpness:
        return f"blurred: sharpness {row.sharpness:.3f}, below {settings.min_sharpness:g}"
    return ""


def _rounded(values: np.ndarray) -> list[Any]:
    return list(np.round(values.astype(float), 1).tolist())


def drop_near_duplicates(
    sources: Iterator[tuple[str, SourceFaces]], bits: int
) -> Iterator[tuple[str, SourceFaces]]:
    """Mark faces that nearly equal one of an earlier source; sources come in a fixed order."""
    seen = NearDuplicates(bits)
    for key, faces in sources:
        for row in faces.rows:
            if row.reason or row.at < 0:
                continue
            if near := seen.add(np.unpackbits(faces.hashes[row.at]).astype(bool), row.key):
                row.reason = NEAR + near
        yield key, faces
