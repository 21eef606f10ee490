"""Faces of images and videos: detected and cropped like `prepare`, or taken whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssl_faces.apps.arguments import skipped_beside
from ssl_faces.apps.face_finder import FaceCrop, FaceFinder
from ssl_faces.apps.films import EVERY_FRAME, open_video
from ssl_faces.common.arguments import Place
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import refuse_input, same_file
from ssl_faces.common.plurals import plural
from ssl_faces.common.shards import Shard
from ssl_faces.data.faces import Skipped, write_skipped
from ssl_faces.data.pictures import BadImage, decode_image
from ssl_faces.prepare.quality import HASH_BITS, perceptual_hash
from ssl_faces.prepare.reading import GAP
from ssl_faces.prepare.sources import Frame, Source, kind_of, list_sources, name_of
from ssl_faces.prepare.tracks import Tracker

if TYPE_CHECKING:
    from tqdm import tqdm


_COUNTS = ("whole", "frames", "empty_frames")
_SHOWN = 25  # frames of a video between two lines of progress
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a file.

    Attributes:
        key: unique: the file's key, `#frame12` for a video's frame, and `#1`, `#2`, … for faces
            other than the largest of the image.
        source: the file's key: the name of the given file or folder, and the path below it.
        pixels, box, score: as in `FaceCrop`.
        time: seconds in the video, -1 in an image.
        frame: of the video, from 0.
        track: of the video, from 0: faces of one track show one person, as the clips of `prepare`
            do. -1 in an image, or if the reader doesn't track.
    """

    key: str
    source: str
    pixels: np.ndarray
    box: tuple[float, float, float, float] | None
    score: float
    time: float = -1.0
    frame: int = 0
    track: int = -1

    @property
    def of_video(self) -> bool:
        return self.time >= 0

    def without_pixels(self) -> Face:
        """A copy that takes little memory."""
        return replace(self, pixels=_NO_PIXELS)


class Picture(NamedTuple):
    """An image in memory, uint8 RGB [H, W, 3], and its key."""

    key: str
    pixels: np.ndarray


class FaceReader:
    """The faces of files, folders and images in memory, with a progress bar.

    Iterate over it for `Face`s: in the order of `places`, within a folder in the order of keys,
    within an image the largest first. Files that can't be used raise nothing and are listed in
    `skipped`.

    Args:
        places: images, videos, and folders of them; or images as arrays, uint8 RGB [H, W, 3], whose
            keys are `image` and their number. Files that share a name have their path in the key.
        finder: finds the faces.
        largest: only the largest face of each image and frame.
        fps: frames per second of videos to read; 0 skips videos.
        out: a folder or table of the command, skipped if it lies among the files.
        quiet: without a progress bar.
        tracked: link the faces of a video to tracks.
        strict: raise InputError for a file that can't be used.
        shard: read only this part of the files.

    Attributes:
        skipped: files without a usable face, and the reasons.
        sources, files: what to read, and how much that is.
        content: hash of the keys of all files, also those of other shards.
        whole: number of images (or videos) taken as face crops.
        frames, empty_frames: number of frames of videos that were read, and of those without a
            usable face.
        notes: what is wrong with videos that were read in part.

    Raises:
        InputError: a file is missing, empty or can't be listed, an array is no image, or `out` is
            an image among the files.
    """

    def __init__(
        self,
        places: Sequence[Place | np.ndarray],
        finder: FaceFinder,
        *,
        largest: bool = False,
        fps: float = 0.0,
        out: Path | None = None,
        quiet: bool = False,
        tracked: bool = False,
        strict: bool = False,
        shard: Shard | None = None,
    ) -> None:
        self.finder, self.largest, self.fps, self.quiet = finder, largest, fps, quiet
        self.tracked, self.strict = tracked, strict
        output = Path("-") if out is None else out.expanduser()
        self.sources: Sequence[Source | Picture] = list(_listed(places, output))
        keys = [source.key for source in self.sources]
        self.content = hashlib.sha256("\0".join(keys).encode(errors="replace")).hexdigest()
        # Otherwise all keys differ, and long films need no list of them.
        self.ambiguous = len(set(keys)) < len(keys) or any("#" in key for key in keys)
        if shard is not None:
            self.sources = shard.of(self.sources)
        self.files = len(self.sources)
        self._start()

    def _start(self) -> None:
        self.skipped: list[Skipped] = []
        self.notes: list[str] = []
        self.whole = self.frames = self.empty_frames = 0
        self._keys: set[str] = set()

    def has_video(self) -> bool:
        """Whether any of the files is a video or animation, by its first bytes."""
        for source in self.sources:
            with suppress(BadImage):
                if isinstance(source, Picture):
                    continue
                with source.local() as path:
                    if kind_of(path) == "video":
                        return True
        return False

    def __iter__(self) -> Iterator[Face]:
        from tqdm import tqdm

        self._start()
        with tqdm(self.sources, desc="reading faces", unit="files", disable=self.quiet) as bar:
            for source in bar:
                try:
                    yield from self._read(source, bar)
                except (BadImage, MemoryError) as error:
                    known = isinstance(error, BadImage)
                    reason = str(error) if known else "takes more memory than there is"
                    if self.strict:
                        raise InputError(f"{source.key}: {reason}") from error
                    self.skipped.append(Skipped(source.key, reason))

    def _read(self, source: Source | Picture, bar: tqdm[Any]) -> Iterator[Face]:
        if isinstance(source, Picture):
            yield from self._picture(source.key, source.pixels)
            return
        with source.local() as path:
            if kind_of(path) == "picture":
                yield from self._picture(source.key, decode_image(path))
            else:
                yield from self._film(source, path, bar)

    def _picture(self, key: str, pixels: np.ndarray) -> Iterator[Face]:
        crops = self.finder(pixels)
        self.whole += crops[0].box is None
        yield from self._faces(key, key, crops)

    def _film(self, source: Source, path: Path, bar: tqdm[Any]) -> Iterator[Face]:
        if not self.fps:
            raise BadImage("a video or animation; give a picture")
        if self.tracked and find_spec("imagehash") is None:
            raise InputError(
                f"{source.key}: tracks need imagehash; pip install 'ssl-faces[prepare]'"
            )
        video = open_video(path, self.fps)
        tracker: Tracker | None = None
        frames = faces = 0
        for frame in video:
            frames += 1
            self.frames += 1
            if frames % _SHOWN == 0:
                bar.set_postfix_str(f"{source.key}: {frame.time:.0f} of {video.seconds:.0f} s")
            try:
                crops = self.finder(frame.pixels)
            except BadImage:
                crops = []
            if self.tracked:
                tracker = tracker or Tracker(GAP / min(video.fps, video.rate))
            tracks = _linked(tracker, frame, crops) if tracker else ()
            if not crops:
                self.empty_frames += 1
                continue
            faces += 1
            self.whole += faces == 1 and crops[0].box is None
            key = f"{source.key}#frame{frame.number}"
            yield from self._faces(key, source.key, crops, frame, tracks)
        if video.note:
            self.notes.append(f"{source.key}: {video.note}")
        if not faces:
            raise BadImage(f"no face found in {plural(frames, 'frame')}")

    def _faces(
        self,
        key: str,
        source: str,
        crops: list[FaceCrop],
        frame: Frame | None = None,
        tracks: Sequence[int] = (),
    ) -> Iterator[Face]:
        time, number = (-1.0, 0) if frame is None else (round(frame.time, 3), frame.number)
        for i, crop in enumerate(crops[:1] if self.largest else crops):
            name = f"{key}#{i}" if i else key
            if self.ambiguous:
                while name in self._keys:  # a file whose name equals the key of another's face
                    name += "'"
                self._keys.add(name)
            track = tracks[i] if tracks else -1
            yield Face(name, source, crop.pixels, crop.box, crop.score, time, number, track)

    def state(self) -> dict[str, Any]:
        """What `report` says of the files that were read, as JSON."""
        counts = {name: getattr(self, name) for name in _COUNTS}
        return {**counts, "notes": self.notes, "skipped": [[*one] for one in self.skipped]}

    def add(self, state: Mapping[str, Any]) -> None:
        """Count the files that another reader has read."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + state[name])
        self.notes += state["notes"]
        self.skipped += [Skipped(*one) for one in state["skipped"]]

    def counted(self, faces: int) -> str:
        """How many faces of how many files, in words."""
        return f"{plural(faces, 'face')} of {plural(self.files, 'file')}"

    def summary(self) -> str:
        """How many files were skipped, taken whole or read in part; empty if none."""
        from ssl_faces.prepare.manifest import counted

        lines = []
        if self.whole:
            lines.append(f"taken as face crops, without detection: {self.whole:,}")
        if self.skipped:
            counts = counted(skipped.reason for skipped in self.skipped)
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts)
            lines.append(
                f"skipped {len(self.skipped):,} of {plural(self.files, 'file')}: {reasons}"
            )
        lines += self.notes
        return "\n".join(lines)

    def report(self, *lines: str, beside: Path | None = None) -> str:
        """The lines, and the summary if there is one. Skipped files are listed beside a table; an
        earlier list there is removed."""
        summary = self.summary()
        if beside is not None:
            listed = skipped_beside(beside)
            listed.unlink(missing_ok=True)
            if self.skipped:
                write_skipped(listed, [("", skipped) for skipped in self.skipped])
                summary += f" (each in {listed})"
        return "\n".join([*lines, *([summary] if summary else [])])

    def nothing(self) -> InputError:
        """The error to raise if there was no face at all."""
        first = "; ".join(f"{skipped.key}: {skipped.reason}" for skipped in self.skipped[:3])
        if self.files == 1:
            return InputError(first)
        return InputError(
            f"no face in {plural(self.files, 'file')} ({first}); give photos with faces"
        )


def _listed(places: Sequence[Place | np.ndarray], out: Path) -> Iterator[Source | Picture]:
    """All files and images, without the command's earlier output."""
    names = Counter(name_of(place) for place in places if not isinstance(place, np.ndarray))
    for i, place in enumerate(places):
        if isinstance(place, np.ndarray):
            if place.dtype != np.uint8 or place.ndim != 3 or place.shape[2] != 3 or not place.size:
                kind = f"{place.dtype} {list(place.shape)}"
                raise InputError(f"image {i}: {kind}; give uint8 RGB [H, W, 3], or the file's name")
            yield Picture(f"image {i}", place)
            continue
        for name, sources in list_sources([place], out).items():
            before = f"{_parent(place)}/" if names[name] > 1 else ""
            for source in sources:
                if not _is_output(source.path, out):
                    yield replace(source, key=before + source.key)


def _parent(place: Place) -> str:
    return place.rpartition("/")[0] if isinstance(place, str) else place.parent.as_posix()


def _linked(tracker: Tracker, frame: Frame, crops: Sequence[FaceCrop]) -> list[int]:
    """The track of each face of the next frame, as `prepare` links clips."""
    height, width = frame.pixels.shape[:2]
    # A frame that is a face crop has its face in one place.
    boxes = [crop.box or (0.0, 0.0, float(width), float(height)) for crop in crops]
    points = [np.zeros((5, 2)) if crop.landmarks is None else crop.landmarks for crop in crops]
    hashes = [perceptual_hash(crop.pixels) for crop in crops]
    return tracker.step(
        frame.time,
        frame.pixels,
        np.array(boxes).reshape(-1, 4),
        np.array(points).reshape(-1, 5, 2),
        np.array(hashes, bool).reshape(-1, HASH_BITS),
    )


def first_face(place: Path, finder: FaceFinder) -> Face:
    """The largest face of an image, or of the first frame with a face of a video.

    Raises:
        InputError: no such file, or no usable face.
    """
    if place.expanduser().is_dir():
        raise InputError(f"{place}: a folder; give one picture")
    reader = FaceReader([place], finder, largest=True, fps=EVERY_FRAME, quiet=True)
    face = next(iter(reader), None)
    if face is None:
        raise InputError(f"{place}: {reader.skipped[0].reason}; give a picture with a face")
    return face


def _is_output(path: Path, out: Path) -> bool:
    """Whether a listed file is the command's earlier output.

    Raises:
        InputError: it has the output's name, but is an image or a video.
    """
    if not same_file(path, out):
        return False
    with suppress(BadImage):
        kind_of(path)
        refuse_input(out, [path])
    return True
