"""The faces of pictures and videos: found and cropped as `prepare` does, or taken as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import refuse_input, same_file
from ssl_faces.data.faces import Skipped
from ssl_faces.data.pictures import BadPicture, decode_picture
from ssl_faces.data.store.packing import square
from ssl_faces.prepare.alignment import aligned
from ssl_faces.prepare.detectors import FaceDetector, faces_of, open_detector
from ssl_faces.prepare.reading import FaceRow, Settings, refusal
from ssl_faces.prepare.sources import Frame, Source, Video, kind_of, list_sources

Detect = Literal["auto", "always", "never"]

CROP_SIDE = 128
"""With `auto`, pictures and videos of at most this many pixels a side are face crops already."""

EVERY_FRAME = 1000.0
"""Frames a second to ask of a `Video` for all that it has."""

_KEPT = Settings(min_sharpness=0.0)  # who gives a blurred picture wants that one
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class Found(NamedTuple):
    """A face of a picture.

    Attributes:
        pixels: its crop, uint8 RGB [S, S, 3].
        box: left, top, right, bottom in pixels of the picture; None where it was taken whole.
        score: of the detector, 0 to 1; 1 where it was taken whole.
    """

    pixels: np.ndarray
    box: tuple[float, float, float, float] | None
    score: float


class FaceFinder:
    """Pictures to face crops of one size.

    Args:
        size: side of the crops.
        detect: `always` looks for faces; `never` takes the centre square of every picture as one;
            `auto` does so with pictures of at most 128 pixels a side, and looks for faces in all
            others.
        detector: see `open_detector`.

    Raises:
        InputError: no such way to detect.
    """

    def __init__(self, size: int, detect: Detect = "auto", detector: str = "mtcnn") -> None:
        if detect not in get_args(Detect):
            raise InputError(f"--detect {detect}: give {', '.join(get_args(Detect))}")
        self.size, self.detect, self.detector = size, detect, detector
        self._open: FaceDetector | None = None

    def takes_whole(self, picture: np.ndarray) -> bool:
        """Whether a picture counts as a face crop."""
        if self.detect == "auto":
            return max(picture.shape[:2]) <= CROP_SIDE
        return self.detect == "never"

    def __call__(self, picture: np.ndarray) -> list[Found]:
        """The faces of a picture, uint8 RGB [H, W, 3], the largest first.

        Raises:
            BadPicture: it has none that can be used; why, in words.
            InputError: the detector can't be had.
        """
        if self.takes_whole(picture):
            return [Found(square(picture, self.size).transpose(1, 2, 0), None, 1.0)]
        if self._open is None:
            self._open = open_detector(self.detector, 0.8 * _KEPT.min_face)
        found = faces_of(self._open, picture)
        kept, reasons = [], []
        for box, score, points in zip(found.boxes, found.scores, found.landmarks, strict=True):
            pixels, inside = aligned(picture, points, self.size)
            left, top, right, bottom = (round(float(x), 1) for x in box)
            row = FaceRow(box=[left, top, right, bottom], score=float(score))
            reason = refusal(row, inside, _KEPT)
            if reason:
                reasons.append(reason)
            else:
                kept.append(Found(pixels, (left, top, right, bottom), round(float(score), 4)))
        if not kept:
            raise BadPicture(
                f"no face that can be used ({reasons[0]})"
                if reasons
                else "no face found (--detect never takes it as a face crop)"
            )
        return sorted(kept, key=_area, reverse=True)


def _area(face: Found) -> float:
    left, top, right, bottom = face.box or (0.0, 0.0, 0.0, 0.0)
    return (right - left) * (bottom - top)


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a file.

    Attributes:
        key: unique among those read at once: the file's key; of all but the largest face of a
            picture with `#1`, `#2`, …; of a video's frame with `#frame12` in between.
        source: the key of the file: the name of what was given, and the path below it.
        pixels, box, score: as in `Found`.
        time: seconds in the video, -1 in a picture.
        frame: of the video, from 0.
    """

    key: str
    source: str
    pixels: np.ndarray
    box: tuple[float, float, float, float] | None
    score: float
    time: float = -1.0
    frame: int = 0

    @property
    def of_video(self) -> bool:
        return self.time >= 0

    def without_pixels(self) -> Face:
        """For who keeps many."""
        return replace(self, pixels=_NO_PIXELS)


class FaceReader:
    """The faces of files and folders, in the order of their keys, with a progress bar.

    Iterated once, it gives `Face`s; what can't be used is in `skipped` afterwards, and nothing is
    raised for any file.

    Args:
        given: pictures, videos, and folders of them.
        finder: finds the faces.
        largest: only the largest face of each picture and frame.
        fps: frames a second of videos to look at; 0 skips videos.
        out: a folder or table that is left out when it lies among them.
        quiet: without a progress bar.

    Attributes:
        skipped: files without a face that can be used, and why.
        files: how many there are.
        whole: how many pictures (or videos) were taken as face crops.

    Raises:
        InputError: one of `given` is missing, empty or can't be listed, or `out` is a picture
            among them.
    """

    def __init__(
        self,
        given: Sequence[Path],
        finder: FaceFinder,
        *,
        largest: bool = False,
        fps: float = 0.0,
        out: Path | None = None,
        quiet: bool = False,
    ) -> None:
        aside = Path("-") if out is None else out.expanduser()
        listed = list_sources(given, aside)
        self.finder, self.largest, self.fps, self.quiet = finder, largest, fps, quiet
        kept = [source for of_one in listed.values() for source in of_one]
        self._sources = [one for one in kept if not _is_output(one.path, aside)]
        self.files = len(self._sources)
        self.skipped: list[Skipped] = []
        self.whole = 0
        self._keys: set[str] = set()

    def __iter__(self) -> Iterator[Face]:
        from tqdm import tqdm

        self.skipped, self.whole, self._keys = [], 0, set()
        with tqdm(self._sources, desc="reading faces", unit="files", disable=self.quiet) as bar:
            for source in bar:
                try:
                    yield from self._read(source)
                except BadPicture as error:
                    self.skipped.append(Skipped(source.key, str(error)))
                except MemoryError:
                    self.skipped.append(Skipped(source.key, "takes more memory than there is"))

    def _read(self, source: Source) -> Iterator[Face]:
        if kind_of(source.path) == "picture":
            found = self.finder(decode_picture(source.path))
            self.whole += found[0].box is None
            yield from self._faces(source.key, source.key, found)
            return
        if not self.fps:
            raise BadPicture("a video or animation; give a picture")
        frames = faces = 0
        for frame in open_video(source.path, self.fps):
            frames += 1
            try:
                found = self.finder(frame.pixels)
            except BadPicture:
                continue
            faces += 1
            self.whole += faces == 1 and found[0].box is None
            key = f"{source.key}#frame{frame.number}"
            yield from self._faces(key, source.key, found, frame)
        if not faces:
            raise BadPicture(f"no face found in {frames:,} frames that were looked at")

    def _faces(
        self, key: str, source: str, found: list[Found], frame: Frame | None = None
    ) -> Iterator[Face]:
        time, number = (-1.0, 0) if frame is None else (round(frame.time, 3), frame.number)
        for i, one in enumerate(found[:1] if self.largest else found):
            name = f"{key}#{i}" if i else key
            while name in self._keys:  # a file that is called as another one's face
                name += "'"
            self._keys.add(name)
            yield Face(name, source, *one, time=time, frame=number)

    def summary(self) -> str:
        """What was passed over, or taken whole, in words; empty where there is nothing to say."""
        from ssl_faces.prepare.manifest import counted

        said = []
        if self.whole:
            said.append(f"taken as face crops, without looking for faces: {self.whole:,}")
        if self.skipped:
            reasons = counted(one.reason for one in self.skipped)
            told = ", ".join(f"{reason} {count:,}" for reason, count in reasons)
            said.append(f"skipped {len(self.skipped):,} of {self.files:,} files: {told}")
        return "\n".join(said)

    def nothing(self) -> InputError:
        """What to raise where no face was found at all."""
        if len(self.skipped) == 1:
            return InputError(f"{self.skipped[0].key}: {self.skipped[0].reason}")
        told = "; ".join(f"{one.key}: {one.reason}" for one in self.skipped[:3])
        return InputError(f"no face in {self.files:,} files ({told}); give photos with faces")


def open_video(path: Path, fps: float = EVERY_FRAME) -> Video:
    """The frames of a video.

    Raises:
        InputError: PyAV is missing.
    """
    if find_spec("av") is None:
        raise InputError(f"{path}: videos need PyAV; pip install 'ssl-faces[prepare]'")
    return Video(path, fps)


def first_face(place: Path, finder: FaceFinder) -> Face:
    """The largest face of a picture, or of the first frame of a video that has one.

    Raises:
        InputError: no such file, or one without a face that can be used.
    """
    if place.expanduser().is_dir():
        raise InputError(f"{place}: a folder; give one picture")
    reader = FaceReader([place], finder, largest=True, fps=EVERY_FRAME, quiet=True)
    face = next(iter(reader), None)
    if face is None:
        raise InputError(f"{place}: {reader.skipped[0].reason}; give a picture with a face")
    return face


def _is_output(path: Path, out: Path) -> bool:
    """Whether a file that was listed is what the command has written there before.

    Raises:
        InputError: it is the output's name, but a picture or a video.
    """
    if not same_file(path, out):
        return False
    with suppress(BadPicture):
        kind_of(path)
        refuse_input(out, [path])
    return True
