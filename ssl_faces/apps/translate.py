"""`ssl-faces translate`: one person's expression and pose on another's face, in videos too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_faces.apps.arguments import add_detection, add_method, parser
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output

if TYPE_CHECKING:
    from ssl_faces.apps.faces import FaceFinder, Found
    from ssl_faces.methods.method import Method
    from ssl_faces.prepare.sources import Frame

ABOUT = """\
One person's expression and pose on another's face.

A picture or folder as A gives pictures in the folder --out, as swap-identity does. A video (or
animation) gives the video --out FILE.mp4: A's face, B's face and the result side by side, a frame
for each of A's, without sound. Where A has no face in a frame the last result stays. In frames of
several faces the largest is followed.
"""

SIDE = 192  # pixels of a face in a video, even
_TICKS = 60_000
"""Of a second, for times: 24, 25, 30, 50, 60 and 30000/1001 frames a second are whole ones."""

_CODECS = ("libx264", "mpeg4")
_EMPTY = 128  # grey level of a place where nothing was found yet


@dataclass(frozen=True)
class Translated:
    """A video that was written.

    Attributes:
        frames: how many.
        without_face: of them, those where the last result stays.
        note: what is wrong with the video that moves it; empty where nothing is.
    """

    frames: int
    without_face: int
    note: str


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces translate` with these arguments.

    Raises:
        InputError: bad input, or no face in all of it.
    """
    of = parser("translate", ABOUT)
    add = of.add_argument
    add("--motion-of", required=True, type=Path, metavar="A", help="a video, picture or folder")
    add("--person", required=True, type=Path, metavar="B", help="whose largest face is moved")
    add("--out", required=True, type=Path, metavar="FILE.mp4", help="of a video; else a folder")
    add_overwrite(of)
    add_method(of)
    add_detection(of)
    given = of.parse_args(arguments)
    from ssl_faces.apps.edit import check_folder, write_edits
    from ssl_faces.apps.editing import MOTION, open_method
    from ssl_faces.apps.faces import FaceFinder, FaceReader, first_face

    of_video = is_video(given.motion_of)
    if of_video != (given.out.suffix == ".mp4"):
        what = "a video: give FILE.mp4" if of_video else "no video: give a folder"
        raise InputError(f"--out {given.out}: {given.motion_of} is {what}")
    inputs = (given.motion_of, given.person)
    if of_video:
        check_output(given.out, given.overwrite, (*inputs, given.method))
    else:
        check_folder(given.out, given.overwrite, inputs)
    method = open_method(given.method, MOTION)
    finder = FaceFinder(method.picture_size, given.detect, given.detector)
    person = first_face(given.person, finder)
    if not of_video:
        reader = FaceReader([given.motion_of], finder, out=given.out)
        write_edits(method, MOTION, reader, given.out, person=person, seed=given.seed)
        return
    done = translate_video(
        method, given.motion_of, person.pixels, finder, given.out, seed=given.seed
    )
    print(f"{given.out}: {done.frames:,} frames: A, B, B with the motion of A")
    if done.without_face:
        print(f"no face in {done.without_face:,} of them: the last result stays")
    if done.note:
        print(f"{given.motion_of}: {done.note}")


def is_video(place: Path) -> bool:
    """Whether a file is a video or animation, by its first bytes.

    Raises:
        InputError: it is neither that nor a picture nor a folder.
    """
    from ssl_faces.data.pictures import BadPicture
    from ssl_faces.prepare.sources import kind_of

    path = place.expanduser()
    if path.is_dir():
        return False
    try:
        return kind_of(path) == "video"
    except BadPicture as error:
        raise InputError(f"{place}: {error}") from error


def translate_video(
    method: Method,
    video: Path,
    person: np.ndarray,
    finder: FaceFinder,
    out: Path,
    *,
    seed: int = 0,
    most_frames: int | None = None,
    quiet: bool = False,
) -> Translated:
    """Write `out`, an MP4 of three faces side by side: of the video, the person, the result.

    Args:
        method: of `open_method`, with `MOTION` among its edits.
        video: whose largest face moves.
        person: face crop of who is moved, uint8 [S, S, 3] of side `method.picture_size`.
        finder: of faces of that side.
        out: never half-written.
        seed: of rendering noise.
        most_frames: end after so many.
        quiet: without a progress bar.

    Raises:
        InputError: the video can't be used or has no face, or `out` can't be written.
    """
    from tqdm import tqdm

    from ssl_faces.apps.editing import BATCH, MOTION, edited
    from ssl_faces.apps.embedding import batches
    from ssl_faces.apps.faces import open_video
    from ssl_faces.common.files import replacing
    from ssl_faces.data.pictures import BadPicture

    frames = open_video(video.expanduser())
    side = method.picture_size
    total = None if quiet else frames.count() or None
    if total is not None and most_frames is not None:
        total = min(total, most_frames)
    nothing = np.full((side, side, 3), _EMPTY, np.uint8)
    count = without = 0
    source, result = nothing, nothing
    with (
        replacing(out, out.suffix) as path,
        tqdm(total=total, desc="frames", unit="frames", disable=quiet) as bar,
    ):
        writer: _Writer | None = None
        try:
            followed = _followed(frames, finder, most_frames)
            for batch in batches(followed, BATCH):
                crops = [face.pixels for _, face in batch if face is not None]
                made = iter(edited(method, MOTION, crops, [person], seed=seed))
                for frame, face in batch:
                    if writer is None:
                        writer = _Writer(path, frames.rate, frame.time)
                    if face is None:
                        without += 1
                    else:
                        source, result = face.pixels, next(made)
                    writer.write(frame.time, (source, person, result))
                    count += 1
                bar.update(len(batch))
        except BadPicture as error:
            raise InputError(f"{video}: {error}") from error
        finally:
            if writer is not None:
                writer.close()
        if without == count:
            raise InputError(
                f"{video}: no face found in {count:,} frames; give a video with a face"
            )
    return Translated(count, without, frames.note)


def _followed(
    frames: Any, finder: FaceFinder, most: int | None
) -> Iterator[tuple[Frame, Found | None]]:
    """Each frame with the face that is followed: the one that overlaps the last one's box most,
    where none does the largest."""
    from ssl_faces.data.pictures import BadPicture
    from ssl_faces.prepare.tracks import overlap

    last: np.ndarray | None = None
    for number, frame in enumerate(frames):
        if most is not None and number >= most:
            return
        try:
            found = finder(frame.pixels)
        except BadPicture:
            yield frame, None
            continue
        face = found[0]
        if last is not None and face.box is not None:
            shared = [overlap(last, np.array(one.box)) for one in found]
            face = found[int(np.argmax(shared))]  # of equals the largest
        last = None if face.box is None else np.array(face.box)
        yield frame, face


class _Writer:
    """An MP4 of faces side by side, each frame at its time."""

    def __init__(self, path: Path, rate: float, start: float) -> None:
        import av

        self._container = av.open(str(path), "w", format="mp4")
        codec = next(name for name in _CODECS if name in av.codecs_available)
        stream: Any = self._container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = 3 * SIDE, SIDE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        if codec == "mpeg4":
            stream.bit_rate = 2_000_000
        self._stream = stream
        self._start, self._last = start, -1

    def write(self, time: float, faces: Sequence[np.ndarray]) -> None:
        import av

        from ssl_faces.apps.sheets import enlarged

        row = np.concatenate([np.asarray(enlarged(face, SIDE)) for face in faces], axis=1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(row), format="rgb24")
        # Times of broken videos may go back: a frame comes behind the one before it all the same.
        self._last = max(round((time - self._start) * _TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
