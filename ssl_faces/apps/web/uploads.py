"""Uploaded images: within limits, or one sentence about what is wrong with them."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import MOST_PIXELS
from ssl_faces.data.pictures import FORMATS, BadImage, decode_image
from ssl_faces.prepare.sources import HEAD, kind_by_head

_MB = 1 << 20
_NO_PICTURE = "a video or animation, and no picture"


@dataclass(frozen=True)
class Limits:
    """Limits of one upload.

    Attributes:
        most_mb: size of the file, in units of 2^20 bytes.
        most_pixels: number of pixels, by the header, before decoding.
    """

    most_mb: float = 10.0
    most_pixels: int = 25_000_000

    @property
    def most_bytes(self) -> int:
        return round(self.most_mb * _MB)


class TooLarge(BadImage):
    """An upload beyond the limits."""


def read_upload(data: bytes | None, name: str, limits: Limits) -> np.ndarray:
    """The pixels of an upload, uint8 RGB [H, W, 3], upright.

    Args:
        data: the file; None if there is none.
        name: its name in errors.

    Raises:
        InputError: there is none, it is too large, or no usable image.
    """
    if data is None:
        raise InputError(f"{name}: no picture yet; give one by file or webcam")
    try:
        check_picture(data, limits)
        return decode_image(data)
    except BadImage as error:
        raise InputError(f"{name}: {error}; give another picture, as JPEG or PNG") from error


def check_picture(data: bytes, limits: Limits) -> int:
    """Check an upload by its size, first bytes and header, without decoding it.

    Returns:
        The number of its pixels.

    Raises:
        BadImage: no image, or (TooLarge) one beyond the limits.
    """
    if len(data) > limits.most_bytes:
        raise TooLarge(f"{len(data) / _MB:.1f} MB are more than the {limits.most_mb:g} MB allowed")
    if kind_by_head(data[:HEAD]) != "picture":
        raise BadImage(_NO_PICTURE)
    width, height = _size(data)
    if not width * height:
        raise BadImage("truncated or broken (cut in its head)")
    if width * height > limits.most_pixels:
        raise TooLarge(
            f"{width:,} x {height:,} pixels are more than the {limits.most_pixels:,} allowed"
        )
    return width * height


def _size(data: bytes) -> tuple[int, int]:
    """Width and height by the header; 0, 0 if they are unknown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                return image.size
        except Image.DecompressionBombError as error:
            raise TooLarge(f"more than {MOST_PIXELS:,} pixels") from error
        except Exception:
            return 0, 0
