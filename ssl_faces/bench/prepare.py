"""`ssl-faces bench prepare`: how many faces are found, how well they are aligned, and how fast.

Faces of real sets are pasted on canvases of noise, so that where each is, and where its eyes are,
is known; a video is encoded from them. Reads LFW's crops and the YouTube keypoints.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import SEED, whole
from ssl_faces.common.errors import InputError
from ssl_faces.data.faces import FaceSet
from ssl_faces.data.sets.discover import default_data_root, find_face_sets

if TYPE_CHECKING:
    from ssl_faces.prepare.detectors import FaceDetector
    from ssl_faces.prepare.reading import Settings

Row = dict[str, Value]

_EYES = (slice(36, 42), slice(42, 48))  # of 68 landmarks, iBUG order
_GROUP = 6
_CANVAS = (640, 960)
_FRAMES = 15  # of each shot of the video
_RATE = 5
_SHOTS = 6
_ASTRONAUT = np.array([[203.5, 100.9], [247.2, 103.4]])  # her pupils, read off an enlargement
_CLOSE = 0.25  # of the distance between the eyes: an eye that is farther off is another's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="folder with the face sets (the default one)")
    parser.add_argument("--faces", type=whole(_GROUP, 100_000), default=60, help="of each set (60)")
    parser.add_argument("--detector", default="mtcnn", help="mtcnn, or yunet:FILE.onnx (mtcnn)")
    parser.add_argument("--seed", type=SEED, default=0, help="of which faces, and where (0)")


def measure(arguments: argparse.Namespace) -> Result:
    """Detection rates, errors of the eyes, faces a second, and clips of a video.

    Raises:
        InputError: bad input, or the folder lacks the sets.
    """
    from ssl_faces.prepare.reading import Settings
    from ssl_faces.prepare.workers import detector_for

    sets = {one.name: one for one in find_face_sets(arguments.data or default_data_root(), "all")}
    for name in ("lfw", "youtube_keypoints"):
        if name not in sets:
            raise InputError(f"bench prepare reads {name}; give --data FOLDER, where it lies")
    settings = replace(Settings(), detector=arguments.detector)
    detector = detector_for(settings)
    draw = np.random.default_rng(arguments.seed)
    result = Result(
        "prepare",
        {"detector": arguments.detector, "faces": arguments.faces, "seed": arguments.seed},
        notes=[
            "Eyes: mean distance from the labelled eyes (means of 6 landmarks each), in distances "
            "between the eyes, of the faces found. The film's shots are of one person's three "
            "pictures each, before one wall: harder than any film, whose frames resemble each "
            "other more and whose cuts change the room.",
        ],
    )
    people = sets["youtube_keypoints"]
    rows = draw.choice(len(people), min(arguments.faces, len(people)), replace=False).tolist()
    crops = sets["lfw"]
    lfw = draw.choice(len(crops), min(arguments.faces, len(crops)), replace=False).tolist()
    result.rows += [
        _alone(detector, people, rows, draw),
        _groups("groups of YouTube's frames", detector, people, rows, draw),
        _groups("groups of LFW's crops", detector, crops, lfw, draw),
        _astronaut(detector),
        _nobody(detector, draw, arguments.faces // _GROUP),
        _film(detector, settings, people, draw),
    ]
    return result


def _eyes(faces: FaceSet, row: int) -> np.ndarray | None:
    """[2, 2], pixels; None where nobody has labelled them."""
    points = faces.records[row].labels.get("landmarks")
    return None if points is None else np.stack([np.asarray(points)[e].mean(0) for e in _EYES])


def _noise(draw: np.random.Generator, shape: tuple[int, int] = _CANVAS) -> np.ndarray:
    """Coarse grains and fine ones, on which nothing is a face."""
    small = draw.integers(60, 200, (shape[0] // 16, shape[1] // 16, 3), dtype=np.uint8)
    grains = np.asarray(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))
    return np.clip(grains + draw.normal(0, 6, grains.shape), 0, 255).astype(np.uint8)


def _paste(canvas: np.ndarray, face: np.ndarray, left: int, top: int, side: int) -> float:
    """Paste a square face; returns by what its pixels were scaled."""
    resized = Image.fromarray(face).resize((side, side), Image.Resampling.LANCZOS)
    canvas[top : top + side, left : left + side] = np.asarray(resized)
    return side / face.shape[0]


def _match(found: np.ndarray, eyes: np.ndarray) -> float | None:
    """The error of the found eyes [F, 2, 2] that are nearest to these, if they are theirs."""
    if not len(found):
        return None
    apart = float(np.linalg.norm(eyes[0] - eyes[1]))
    errors = np.linalg.norm(found - eyes, axis=2).mean(1) / apart
    return float(errors.min()) if errors.min() < _CLOSE else None


def _row(
    what: str, faces: int, errors: Sequence[float], found: int, others: int, seconds: float
) -> Row:
    return {
        "what": what,
        "faces": faces,
        "found %": 100 * found / faces if faces else None,
        "not faces": others,
        "eyes, mean": float(np.mean(errors)) if errors else None,
        "eyes, 95th percentile": float(np.percentile(errors, 95)) if errors else None,
        "faces/s of a core": found / seconds if faces else None,
        "pictures/s of a core": None,
    }


def _alone(
    detector: FaceDetector, faces: FaceSet, rows: Sequence[int], draw: np.random.Generator
) -> Row:
    """One labelled face a picture, of 60 to 200 px."""
    errors, others, seconds = [], 0, 0.0
    for row in rows:
        picture = faces.read(row)
        side = int(draw.integers(120, 300))
        canvas = _noise(draw, (320, 480))
        left, top = int(draw.integers(0, 480 - side)), int(draw.integers(0, 320 - side))
        scale = _paste(canvas, picture, left, top, side)
        labelled = _eyes(faces, row)
        assert labelled is not None
        found, took = _found(detector, canvas)
        seconds += took
        error = _match(found, labelled * scale + (left, top))
        errors += [] if error is None else [error]
        others += len(found) - (error is not None)
    return _row("one of YouTube's frames", len(rows), errors, len(errors), others, seconds)


def _groups(
    what: str,
    detector: FaceDetector,
    faces: FaceSet,
    rows: Sequence[int],
    draw: np.random.Generator,
) -> Row:
    """Six faces a picture, two rows of three. Unlabelled ones are found where the middle of a
    face's eyes lies in the pasted picture's upper half."""
    errors, hits, others, seconds, count = [], 0, 0, 0.0, 0
    for start in range(0, len(rows) - _GROUP + 1, _GROUP):
        canvas = _noise(draw)
        places = []
        for i, row in enumerate(rows[start : start + _GROUP]):
            side = int(draw.integers(140, 300))
            left = i % 3 * 320 + int(draw.integers(0, 320 - side))
            top = i // 3 * 320 + int(draw.integers(0, 320 - side))
            scale = _paste(canvas, faces.read(row), left, top, side)
            places.append((row, left, top, side, scale))
        found, took = _found(detector, canvas)
        seconds += took
        before = hits
        for row, left, top, side, scale in places:
            labelled = _eyes(faces, row)
            if labelled is not None:
                error = _match(found, labelled * scale + (left, top))
                errors += [] if error is None else [error]
                hits += error is not None
                continue
            middle = found.mean(1) - (left, top)
            hits += bool(((middle > 0) & (middle < (side, 0.6 * side))).all(1).any())
        count += len(places)
        others += len(found) - (hits - before)
    return _row(what, count, errors, hits, others, seconds)


def _astronaut(detector: FaceDetector) -> Row:
    import skimage.data

    found, took = _found(detector, skimage.data.astronaut())
    error = _match(found, _ASTRONAUT)
    errors = [] if error is None else [error]
    return _row("scikit-image's astronaut", 1, errors, len(errors), len(found) - len(errors), took)


def _nobody(detector: FaceDetector, draw: np.random.Generator, pictures: int) -> Row:
    others, seconds = 0, 0.0
    for _ in range(pictures):
        found, took = _found(detector, _noise(draw))
        others += len(found)
        seconds += took
    row = _row("nobody", 0, [], 0, others, seconds)
    return {**row, "pictures/s of a core": pictures / seconds}


def _found(detector: FaceDetector, picture: np.ndarray) -> tuple[np.ndarray, float]:
    """The eyes [F, 2, 2] of the faces that score as prepare asks, and the seconds of a core."""
    from ssl_faces.prepare.detectors import faces_of
    from ssl_faces.prepare.reading import Settings

    began = time.process_time()
    found = faces_of(detector, picture)
    took = time.process_time() - began
    return found.landmarks[found.scores >= Settings().min_score, :2], took


def _film(
    detector: FaceDetector, settings: Settings, faces: FaceSet, draw: np.random.Generator
) -> Row:
    """A video of shots of two people who drift about, each shot a cut: are clips of one person?"""
    from ssl_faces.prepare.reading import read_source
    from ssl_faces.prepare.sources import Source

    people = [
        rows
        for _, group in groupby(range(len(faces)), lambda i: faces.records[i].person)
        if len(rows := list(group)) >= 3
    ]
    chosen = draw.choice(len(people), 2 * _SHOTS, replace=False).tolist()
    with tempfile.TemporaryDirectory(prefix="ssl-faces-bench-") as name:
        path = Path(name) / "film.mp4"
        _write_film(path, [people[one] for one in chosen], faces, draw)
        began = time.process_time()
        kept = replace(settings, duplicate_bits=-1)
        found = read_source(Source("film.mp4", path), kept, detector)
        seconds = time.process_time() - began
    # Left half and right half of a shot are one person each.
    clips: dict[str, set[tuple[int, bool]]] = {}
    usable = [row for row in found.rows if row.box is not None and not row.reason]
    for row in usable:
        assert row.box is not None
        who = (row.frame // _FRAMES, row.box[0] + row.box[2] > _CANVAS[1])
        clips.setdefault(row.clip, set()).add(who)
    shown = 2 * _SHOTS * _FRAMES
    return {
        **_row("a film of pairs", shown, [], len(usable), 0, seconds),
        "not faces": None,
        "clips": len(clips),
        "clips of one person %": 100 * float(np.mean([len(who) == 1 for who in clips.values()])),
        "people": 2 * _SHOTS,
    }


def _write_film(
    path: Path, people: Sequence[list[int]], faces: FaceSet, draw: np.random.Generator
) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=_RATE)
        stream.height, stream.width = _CANVAS
        stream.pix_fmt, stream.bit_rate = "yuv420p", 8_000_000
        wall = _noise(draw)  # the same behind all: cuts are told by the faces
        for shot in range(0, len(people), 2):
            ways = [draw.normal(0, 4, (_FRAMES, 2)).cumsum(0) for _ in range(2)]
            for frame in range(_FRAMES):
                canvas = wall.copy()
                for side, (rows, way) in enumerate(zip(people[shot : shot + 2], ways, strict=True)):
                    # A person's pictures, each for a third of the shot.
                    row = rows[frame * 3 // _FRAMES]
                    at = np.clip(way[frame] + (110 + 480 * side, 190), 0, None).round().astype(int)
                    left = min(int(at[0]), 480 * (side + 1) - 260)
                    _paste(canvas, faces.read(row), left, min(int(at[1]), 380), 260)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(canvas, format="rgb24")))
        container.mux(stream.encode())
