"""Picture bytes to pixels: the one place where files become uint8 RGB, whatever their kind.

Every face set decodes through `decode_image`; what can't be used raises `BadImage`, which the
packing and the probes count, list and skip.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_faces.common.files import MOST_PIXELS, regular

_JPEG = ("jpg", "jpeg", "jpe")
_OTHERS = ("png", "bmp", "gif", "tif", "tiff", "webp", "ppm", "pgm", "pbm", "pnm")
IMAGE_SUFFIXES = frozenset(f".{ending}" for ending in (*_JPEG, *_OTHERS))
"""File name endings (lower case) that the face sets list as pictures."""

MOST_BYTES = 1 << 30
"""Files with more bytes than this are refused unread."""

SHORTEST_SIDE = 8
"""Pictures with a side below this hold no face."""

BACKGROUND = 128
"""Grey level that transparent pictures are laid over: mid grey, so that a cut-out face gets
neither a black nor a white frame for an encoder to latch on to."""

# Pillow guesses the format from the bytes; formats that start other programs (EPS) or that are no
# photographs (PDF, fonts, icons) are left out.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")

_LARGE = 16_000_000
"""Images with more pixels or bytes than this are decoded one at a time, whatever the number of
threads."""

_STRIP = 1_000_000
"""About how many pixels are converted at once."""

_one_large = threading.RLock()

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


class BadImage(Exception):
    """A picture that can't be used. The message is the short reason, without the file's name."""


def decode_image(source: Path | bytes, at_least: int | None = None) -> np.ndarray:
    """Decode a picture file, or its bytes, to uint8 RGB [H, W, 3], upright.

    Grey becomes three equal channels; 16-bit grey is scaled by 1/257, not clipped; transparency
    is laid over mid grey (`BACKGROUND`); palettes, 1-bit and CMYK are converted; the EXIF
    orientation is applied; of an animation the first frame is taken.

    Decoding takes up to 12 bytes a pixel beside the file. Of images with more than 16 million
    pixels or bytes, threads decode one at a time.

    Args:
        at_least: allow a cheaper decode at 1/2, 1/4 or 1/8 size (JPEG only, others come whole),
            with both sides still at least this long where the picture's were.

    Raises:
        BadImage: unreadable, no regular file, empty, truncated, no picture, more than
            `MOST_PIXELS` pixels or `MOST_BYTES` bytes, a side below `SHORTEST_SIDE`, or a kind of
            pixel with no clear range (floats). Nothing else is raised for any
            bytes, as long as there is memory.
    """
    if not isinstance(source, Path):
        return _decode_bytes(source, at_least)
    try:
        with _alone(_sized(source).stat().st_size > _LARGE):
            return _decode_bytes(source.read_bytes(), at_least)
    except OSError as error:
        raise BadImage(f"can't be read ({error.strerror or error})") from error


def square(pixels: np.ndarray, size: int) -> np.ndarray:
    """The centre square of uint8 [H, W, 3], resized to [3, size, size] with antialiasing."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    image = Image.fromarray(pixels[top : top + side, left : left + side])
    if side != size:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).transpose(2, 0, 1)


def content_hash(path: Path) -> bytes:
    """SHA-256 of a picture file's bytes, without keeping them.

    Raises:
        BadImage: unreadable, no regular file, or more than `MOST_BYTES` bytes.
    """
    try:
        with _sized(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise BadImage(f"can't be read ({error.strerror or error})") from error


def _sized(path: Path) -> Path:
    if regular(path).stat().st_size > MOST_BYTES:
        raise BadImage(f"a file of more than {MOST_BYTES:,} bytes")
    return path


def _alone(large: bool) -> AbstractContextManager[object]:
    """Within, no other thread decodes a large image, if this one is large."""
    return _one_large if large else nullcontext()


def _decode_bytes(data: bytes, at_least: int | None) -> np.ndarray:
    if not data:
        raise BadImage("empty (0 bytes)")
    try:
        return _decode(data, at_least)
    except (BadImage, MemoryError):
        raise
    except UnidentifiedImageError as error:
        # Some versions of Pillow don't know a file again that was cut in its head.
        if data.startswith(_BEGINNINGS):
            raise BadImage("truncated or broken (cut in its head)") from error
        raise BadImage("not a picture of a known kind") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"more than {MOST_PIXELS:,} pixels") from error
    # Pillow's readers let out whatever a broken file trips over: OSError, SyntaxError,
    # ValueError, struct.error, KeyError, OverflowError, EOFError, …
    except Exception as error:
        raise BadImage(f"truncated or broken ({error})") from error


def _decode(data: bytes, at_least: int | None) -> np.ndarray:
    buffer = io.BytesIO(data)
    picture: Image.Image = Image.open(buffer, formats=FORMATS)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise BadImage(f"{width}x{height}: more than {MOST_PIXELS:,} pixels")
    if min(width, height) < SHORTEST_SIDE:
        raise BadImage(f"{width}x{height}: a side below {SHORTEST_SIDE} pixels")
    # Opening stops where the pixels begin. Without an end mark behind them the file was cut, and
    # the decoders would take zeros after the cut (a full disk's) for pixels.
    end_mark = _END_MARKS.get(picture.format or "")
    if end_mark is not None and data.find(end_mark, buffer.tell()) < 0:
        raise BadImage("truncated (no end mark)")
    if at_least is not None:
        # A square bound, so that it holds on either side of a quarter turn.
        picture.draft(None, (at_least, at_least))
    # By the size of the whole image: progressive JPEG is read whole at any size.
    with _alone(width * height > _LARGE):
        picture.load()
        # Only now: PNG may keep EXIF behind the pixels. Broken EXIF leaves the image as it is.
        with suppress(Exception):
            ImageOps.exif_transpose(picture, in_place=True)
        pixels = _rgb(picture)
        picture.close()
        return pixels


def _rgb(picture: Image.Image) -> np.ndarray:
    """Pixels of a loaded picture of any mode as uint8 [H, W, 3]."""
    convert = _conversion(picture)
    width, height = picture.size
    rows = max(1, _STRIP // width)
    if rows >= height:
        return convert(picture)
    # Strip by strip: what a conversion needs beside its result would be several times the image.
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        pixels[top:end] = convert(picture.crop((0, top, width, end)))
    return pixels


def _conversion(picture: Image.Image) -> Callable[[Image.Image], np.ndarray]:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return np.array
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _rgb_from_16_bit
    if picture.mode == "F":
        raise BadImage("floating-point pixels, whose range is unknown: save it as 8 or 16 bit")
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
        return _over_background
    return lambda strip: np.array(strip.convert("RGB"))


def _over_background(picture: Image.Image) -> np.ndarray:
    rgba = np.asarray(picture.convert("RGBA"), dtype=np.uint16)
    colour, alpha = rgba[..., :3], rgba[..., 3:]
    return ((colour * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)


def _rgb_from_16_bit(picture: Image.Image) -> np.ndarray:
    grey = np.asarray(picture)
    # Pillow reads some 16-bit kinds (PGM) as 32-bit integers.
    if grey.dtype.itemsize > 2 and (grey.min() < 0 or grey.max() > 65535):
        raise BadImage("32-bit pixels beyond 0-65535: save it as 8 or 16 bit")
    eight_bit = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(eight_bit[..., None], 3, axis=2)


def png(image: Image.Image | np.ndarray) -> bytes:
    """An image as a PNG file."""
    data = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(image))
    image.save(data, "PNG")
    return data.getvalue()
