"""`ssl-faces translate`: one person's expression and pose on another's face, also in videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl_faces.apps.arguments import add_detection, add_method, parser
from ssl_faces.common.arguments import existing
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.common.plurals import plural

if TYPE_CHECKING:
    import argparse

    from ssl_faces.apps.face_finder import FaceCrop, FaceFinder
    from ssl_faces.prepare.sources import Frame

ABOUT = """\
One person's expression and pose on another's face.

If A is a picture or folder, --out is a folder of pictures, as for swap-identity. If A is a video
(or animation), --out FILE.mp4 is a video with A's face, B's face and the result side by side, one
frame for each of A's, without sound. Frames of A without a face repeat the last result. If A has
several faces, the largest is followed.
"""

SIDE = 192  # pixels of a face in a video, even
_EMPTY = 128  # grey level before the first face


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces translate`; bad input and no detected face raise InputError."""
    of = parser("translate", ABOUT)
    add = of.add_argument
    add("--motion-of", required=True, type=existing, metavar="A", help="a video, picture or folder")
    add("--person", required=True, type=existing, metavar="B", help="its largest face is moved")
    add("--out", required=True, type=Path, metavar="FILE.mp4", help="for a video; else a folder")
    add_overwrite(of)
    add_method(of)
    add_detection(of)
    options = of.parse_args(arguments)
    from ssl_faces.apps.edit import check_folder, write_edits
    from ssl_faces.methods.method import MOTION

    source, person, out = options.motion_of, options.person, options.out
    of_video = is_video(source)
    if of_video != (out.suffix == ".mp4"):
        mend = "a video; give FILE.mp4" if of_video else "no video; give a folder, or a video as A"
        raise InputError(f"--out {out}: --motion-of {source} is {mend}")
    if of_video:
        check_output(out, options.overwrite, (source, person, options.method))
        _translate_video(options)
    else:
        check_folder(out, options.overwrite, (source, person))
        write_edits(MOTION, [source], person, options)


def is_video(place: Path) -> bool:
    """Whether a file is a video or animation, by its first bytes.

    Raises:
        InputError: it is neither a video nor an image nor a folder.
    """
    from ssl_faces.data.pictures import BadImage
    from ssl_faces.prepare.sources import kind_of

    path = place.expanduser()
    if path.is_dir():
        return False
    try:
        return kind_of(path) == "video"
    except BadImage as error:
        raise InputError(f"{place}: {error}") from error


def _translate_video(options: argparse.Namespace) -> None:
    """Write an MP4 of three faces side by side: of the video, the person, the result.

    Raises:
        InputError: bad input, a video without a face, or `--out` can't be written.
    """
    from tqdm import tqdm

    from ssl_faces.apps.editing import BATCH, apply_edit, enlarged, open_method
    from ssl_faces.apps.embedding import batches
    from ssl_faces.apps.face_finder import FaceFinder
    from ssl_faces.apps.faces import first_face
    from ssl_faces.apps.films import FilmWriter, open_video
    from ssl_faces.common.files import replacing
    from ssl_faces.data.pictures import BadImage
    from ssl_faces.methods.method import MOTION

    video, out = options.motion_of, options.out
    method = open_method(options.method, MOTION)
    side = method.picture_size
    finder = FaceFinder(side, options.detect, options.detector)
    person = first_face(options.person, finder).pixels
    frames = open_video(video.expanduser())
    source = result = np.full((side, side, 3), _EMPTY, np.uint8)
    count = without = 0
    with (
        replacing(out, out.suffix) as path,
        tqdm(total=frames.count() or None, desc="frames", unit="frames") as bar,
        FilmWriter(path, frames) as film,
    ):
        try:
            for batch in batches(_followed(frames, finder), BATCH):
                crops = [face.pixels for _, face in batch if face is not None]
                results = iter(apply_edit(method, MOTION, crops, [person], options.seed))
                for frame, face in batch:
                    if face is None:
                        without += 1
                    else:
                        source, result = face.pixels, next(results)
                    shown = [np.asarray(enlarged(face, SIDE)) for face in (source, person, result)]
                    film.write(frame.time, np.concatenate(shown, axis=1))
                    count += 1
                bar.update(len(batch))
        except BadImage as error:
            raise InputError(f"{video}: {error}") from error
        if without == count:
            raise InputError(
                f"{video}: no face found in {plural(count, 'frame')}; give a video with a face"
            )
    print(f"{out}: {plural(count, 'frame')}: A, B, B with the motion of A")
    if without:
        print(f"{without:,} of them have no face and repeat the last result")
    if frames.note:
        print(f"{video}: {frames.note}")


def _followed(frames: Any, finder: FaceFinder) -> Iterator[tuple[Frame, FaceCrop | None]]:
    """Each frame with the followed face: the one that overlaps the last box most, or the largest
    if none does."""
    from ssl_faces.data.pictures import BadImage
    from ssl_faces.prepare.tracks import overlap

    last: np.ndarray | None = None
    for frame in frames:
        try:
            faces = finder(frame.pixels)
        except BadImage:
            yield frame, None
            continue
        face = faces[0]
        if last is not None and face.box is not None:
            shared = [overlap(last, np.array(other.box)) for other in faces]
            face = faces[int(np.argmax(shared))]  # the largest of equals
        last = None if face.box is None else np.array(face.box)
        yield frame, face
