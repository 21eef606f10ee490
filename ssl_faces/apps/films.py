"""Films that the commands write, as MP4 without sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

_TICKS = 60_000
"""Per second: whole numbers for 24, 25, 30, 50, 60 and 30000/1001 frames per second."""

_CODECS = ("libx264", "mpeg4")


class FilmWriter:
    """An MP4 with each frame at its time.

    Args:
        path: the file.
        rate: average frames per second.
        start: time of the first frame, in seconds.
        size: width and height, even numbers.
    """

    def __init__(self, path: Path, rate: float, start: float, size: tuple[int, int]) -> None:
        import av

        self._container = av.open(str(path), "w", format="mp4")
        codec = next(name for name in _CODECS if name in av.codecs_available)
        stream: Any = self._container.add_stream(codec, rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        if codec == "mpeg4":
            stream.bit_rate = 2_000_000
        self._stream = stream
        self._start, self._last = start, -1

    def write(self, time: float, pixels: np.ndarray) -> None:
        """Add a frame, uint8 RGB [H, W, 3], at a time in seconds."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        # Times of broken videos may decrease; times of written frames always increase.
        self._last = max(round((time - self._start) * _TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()
