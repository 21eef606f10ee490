"""Pictures and videos for the tests of `ssl-faces prepare`, of a face that scikit-image has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from ssl_faces.prepare.detectors import Faces

EYES = np.array([[203.5, 100.9], [247.2, 103.4]])
"""The eyes of `astronaut`, the pupils as read off an enlargement."""


@cache
def astronaut() -> np.ndarray:
    """uint8 [512, 512, 3], one face of 86 x 110 px."""
    picture: np.ndarray = skimage.data.astronaut()
    return picture


def head(side: int = 200) -> np.ndarray:
    """Her head alone, uint8 [side, side, 3]."""
    part = Image.fromarray(astronaut()[20:220, 125:325])
    return np.asarray(part.resize((side, side), Image.Resampling.LANCZOS))


def scene(
    at: Sequence[tuple[np.ndarray, int, int]], width: int = 320, height: int = 240
) -> np.ndarray:
    """Pictures pasted at (left, top) on grey."""
    canvas = Image.new("RGB", (width, height), (90, 110, 130))
    for picture, left, top in at:
        canvas.paste(Image.fromarray(picture), (left, top))
    return np.asarray(canvas)


def write_video(
    path: Path, frames: Sequence[np.ndarray], fps: int = 10, codec: str = "mpeg4"
) -> Path:
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_picture(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def faces_at(boxes: Sequence[tuple[float, float, float, float]]) -> Faces:
    """Faces with these boxes, and landmarks where an upright face has them."""
    if not boxes:
        return Faces.none()
    array = np.array(boxes, np.float32)
    share = np.array([[0.3, 0.38], [0.7, 0.38], [0.5, 0.6], [0.33, 0.78], [0.67, 0.78]])
    corner, side = array[:, None, :2], (array[:, 2:] - array[:, :2])[:, None]
    points = (corner + share * side).astype(np.float32)
    return Faces(array, np.ones(len(array), np.float32), points)
