"""Uploaded images: within limits, or one sentence about what is wrong with them."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ssl_faces.common.errors import InputError
from ssl_faces.data.pictures import FORMATS, MOST_PIXELS, BadImage, decode_image
from ssl_faces.prepare.sources import HEAD, kind_by_head, kind_of

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


def read_upload(path: Path | None, name: str, limits: Limits) -> np.ndarray:
    """The pixels of an upload, uint8 RGB [H, W, 3], upright.

    Args:
        path: of the file; None if there is none.
        name: its name in errors.

    Raises:
        InputError: there is none, it is gone, too large, or no usable image.
    """
    if path is None:
        raise InputError(f"{name}: no picture yet; give one by file or webcam")
    try:
        with path.open("rb") as file:
            check_picture(file, limits)
        if kind_of(path) != "picture":
            raise BadImage(_NO_PICTURE)
        return decode_image(path)
    except OSError as error:
        raise InputError(f"{name}: is no longer kept here; give it again") from error
    except BadImage as error:
        raise InputError(f"{name}: {error}; give another picture, as JPEG or PNG") from error


def check_picture(file: BinaryIO, limits: Limits) -> int:
    """Check an upload by its size, first bytes and header, without decoding it.

    Returns:
        The number of its pixels.

    Raises:
        BadImage: no image, or (TooLarge) one beyond the limits.
    """
    size = file.seek(0, os.SEEK_END)
    if size > limits.most_bytes:
        raise TooLarge(f"{size / _MB:.1f} MB are more than the {limits.most_mb:g} MB allowed")
    file.seek(0)
    if kind_by_head(file.read(HEAD)) != "picture":
        raise BadImage(_NO_PICTURE)
    file.seek(0)
    width, height = _size(file)
    if not width * height:
        raise BadImage("truncated or broken (cut in its head)")
    if width * height > limits.most_pixels:
        raise TooLarge(
            f"{width:,} x {height:,} pixels are more than the {limits.most_pixels:,} allowed"
        )
    return width * height


def _size(file: BinaryIO) -> tuple[int, int]:
    """Width and height by the header; 0, 0 if they are unknown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(file, formats=FORMATS) as image:
                return image.size
        except Image.DecompressionBombError as error:
            raise TooLarge(f"more than {MOST_PIXELS:,} pixels") from error
        except Exception:
            return 0, 0
