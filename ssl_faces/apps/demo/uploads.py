"""Pictures that visitors give: within limits, or one sentence on what is wrong with them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.data.pictures import FORMATS, MOST_PIXELS, BadPicture, decode_picture
from ssl_faces.prepare.sources import HEAD, kind_by_head, kind_of

MOST_MB = 10.0
MOST_UPLOAD_PIXELS = 25_000_000
_MB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Of one upload.

    Attributes:
        most_mb: of the file, of 2^20 bytes each.
        most_pixels: of the picture, told by its header, before any decoding.
    """

    most_mb: float = MOST_MB
    most_pixels: int = MOST_UPLOAD_PIXELS

    def check(self) -> None:
        """Raises InputError where a limit is none."""
        if not 0 < self.most_mb <= 1000:
            raise InputError(f"--max-mb {self.most_mb:g}: give more than 0, up to 1000")
        if not 64 <= self.most_pixels <= MOST_PIXELS:
            raise InputError(f"--max-pixels {self.most_pixels}: give 64 to {MOST_PIXELS:,}")

    @property
    def most_bytes(self) -> int:
        return round(self.most_mb * _MB)


def read_upload(path: Path | None, name: str, limits: Limits) -> np.ndarray:
    """An upload's pixels, uint8 RGB [H, W, 3], upright.

    Args:
        path: where it lies; None where there is none.
        name: how an error calls it.

    Raises:
        InputError: none was given, it is gone, too large, or no picture that can be used.
    """
    if path is None:
        raise InputError(f"{name}: no picture yet; give one by file or webcam")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{name}: is no longer kept here; give it again") from error
    if size > limits.most_bytes:
        raise InputError(
            f"{name}: {size / _MB:.1f} MB are more than the {limits.most_mb:g} MB that are taken; "
            "give a smaller file"
        )
    try:
        if kind_of(path) != "picture":
            raise BadPicture("a video or animation, and no picture")
        width, height = _size(path)
        if width * height > limits.most_pixels:
            raise InputError(
                f"{name}: {_too_many_pixels(width, height, limits)}; give a smaller picture"
            )
        return decode_picture(path)
    except BadPicture as error:
        raise InputError(f"{name}: {error}; give another picture, as JPEG or PNG") from error


def check_picture(file: BinaryIO, limits: Limits) -> None:
    """Check an upload by its first bytes and its header, before it is kept; nothing is decoded.

    Raises:
        BadPicture: no picture, or of more pixels than `limits` has.
    """
    file.seek(0)
    if kind_by_head(file.read(HEAD)) != "picture":
        raise BadPicture("a video or animation, and no picture")
    file.seek(0)
    width, height = _size(file)
    if not width * height:
        raise BadPicture("truncated or broken (cut in its head)")
    if width * height > limits.most_pixels:
        raise BadPicture(_too_many_pixels(width, height, limits))


def _too_many_pixels(width: int, height: int, limits: Limits) -> str:
    return f"{width:,} x {height:,} pixels are more than the {limits.most_pixels:,} that are taken"


def _size(file: Path | BinaryIO) -> tuple[int, int]:
    """Width and height by the header; 0, 0 where they are unknown, which `decode_picture` words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=FORMATS) as picture:
                return picture.size
        except Image.DecompressionBombError as error:
            raise BadPicture(f"more than {MOST_PIXELS:,} pixels") from error
        except Exception:
            return 0, 0
