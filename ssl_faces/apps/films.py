"""Films that the commands read, and write as MP4 without sound."""

from __future__ import annotations

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ssl_faces.common.errors import InputError
from ssl_faces.prepare.sources import Video

EVERY_FRAME = 1000.0
"""Frames per second of a `Video` that give all frames."""

_TICKS = 60_000
"""Per second: whole numbers for 24, 25, 30, 50, 60 and 30000/1001 frames per second."""

_CODECS = ("libx264", "mpeg4")


def open_video(path: Path, fps: float = EVERY_FRAME) -> Video:
    """The frames of a video; InputError without PyAV."""
    if find_spec("av") is None:
        raise InputError(f"{path}: videos need PyAV; pip install 'ssl-faces[prepare]'")
    return Video(path, fps)


class FilmWriter:
    """An MP4 with each frame at its time, at the rate of the video that its frames are from.

    The first frame sets the size, to even numbers; frames of another size are left out.
    """

    def __init__(self, path: Path, video: Video) -> None:
        self._path, self._video = path, video
        self._container: Any = None
        self._start, self._last = 0.0, -1

    def __enter__(self) -> FilmWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()

    def write(self, time: float, pixels: np.ndarray) -> None:
        """Add a frame, uint8 RGB [H, W, 3], at a time in seconds."""
        import av

        height, width = (side - side % 2 for side in pixels.shape[:2])
        if self._container is None:
            self._open(time, width, height)
        if (width, height) != (self._stream.width, self._stream.height):
            return
        pixels = np.ascontiguousarray(pixels[:height, :width])
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        # Times of broken videos may decrease; times of written frames always increase.
        self._last = max(round((time - self._start) * _TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def _open(self, start: float, width: int, height: int) -> None:
        import av

        rate = Fraction(min(self._video.rate, self._video.fps)).limit_denominator(1001)
        codec = next(name for name in _CODECS if name in av.codecs_available)
        self._container = av.open(str(self._path), "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _TICKS)
        if codec == "mpeg4":
            self._stream.bit_rate = 2_000_000
        self._start = start
