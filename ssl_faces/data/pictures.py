"""Picture bytes to pixels: the one place where files become uint8 RGB, whatever their kind.

Every face set decodes through `decode_picture`; what can't be used raises `BadPicture`, which the
packing and the probes count, list and skip.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

PICTURE_SUFFIXES = frozenset(
    (
        ".jpg",
        ".jpeg",
        ".jpe",
        ".png",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".webp",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    )
)
"""File name endings (lower case) that the face sets list as pictures."""

MOST_PIXELS = 100_000_000
"""Pictures with more pixels than this are refused from their header, before any decoding."""

SHORTEST_SIDE = 8
"""Pictures with a side below this hold no face."""

BACKGROUND = 128
"""Grey level that transparent pictures are laid over: mid grey, so that a cut-out face gets
neither a black nor a white frame for an encoder to latch on to."""

# Pillow guesses the format from the bytes; formats that start other programs (EPS) or that are no
# photographs (PDF, fonts, icons) are left out.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")

_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG
_END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadPicture(Exception):
    """A picture that can't be used. The message is the short reason, without the file's name."""


def decode_picture(source: Path | bytes, at_least: int | None = None) -> np.ndarray:
    """Decode a picture file, or its bytes, to uint8 RGB [H, W, 3], upright.

    Grey becomes three equal channels; 16-bit grey is scaled by 1/257, not clipped; transparency
    is laid over mid grey (`BACKGROUND`); palettes, 1-bit and CMYK are converted; the EXIF
    orientation is applied; of an animation the first frame is taken.

    Args:
        at_least: allow a cheaper decode at 1/2, 1/4 or 1/8 size (JPEG only, others come whole),
            with both sides still at least this long where the picture's were.

    Raises:
        BadPicture: unreadable, empty, truncated, no picture, more than `MOST_PIXELS` pixels, a
            side below `SHORTEST_SIDE`, or a kind of pixel with no clear range (floats). Nothing
            else is raised for any bytes.
    """
    if isinstance(source, Path):
        try:
            data = source.read_bytes()
        except OSError as error:
            raise BadPicture(f"can't be read ({error.strerror or error})") from error
    else:
        data = source
    if not data:
        raise BadPicture("empty (0 bytes)")
    try:
        return _decode(data, at_least)
    except BadPicture:
        raise
    except UnidentifiedImageError as error:
        # Some versions of Pillow don't know a file again that was cut in its head.
        if data.startswith(_BEGINNINGS):
            raise BadPicture("truncated or broken (cut in its head)") from error
        raise BadPicture("not a picture of a known kind") from error
    except Image.DecompressionBombError as error:
        raise BadPicture(f"more than {MOST_PIXELS:,} pixels") from error
    # Pillow's readers let out whatever a broken file trips over: OSError, SyntaxError,
    # ValueError, struct.error, KeyError, OverflowError, EOFError, …
    except Exception as error:
        raise BadPicture(f"truncated or broken ({error})") from error


def _decode(data: bytes, at_least: int | None) -> np.ndarray:
    buffer = io.BytesIO(data)
    picture: Image.Image = Image.open(buffer, formats=FORMATS)
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise BadPicture(f"{width}x{height}: more than {MOST_PIXELS:,} pixels")
    if min(width, height) < SHORTEST_SIDE:
        raise BadPicture(f"{width}x{height}: a side below {SHORTEST_SIDE} pixels")
    # Opening stops where the pixels begin. Without an end mark behind them the file was cut, and
    # the decoders would take zeros after the cut (a full disk's) for pixels.
    end_mark = _END_MARKS.get(picture.format or "")
    if end_mark is not None and data.find(end_mark, buffer.tell()) < 0:
        raise BadPicture("truncated (no end mark)")
    if at_least is not None:
        # A square bound, so that it holds on either side of a quarter turn.
        picture.draft(None, (at_least, at_least))
    picture.load()
    # Only now: PNG may keep EXIF behind the pixels, and Pillow turns TIFF itself while loading.
    turn = _TURNS.get(_orientation(picture))
    pixels = _rgb(picture)
    if turn is not None:
        pixels = np.array(Image.fromarray(pixels).transpose(turn))
    return pixels


def _orientation(picture: Image.Image) -> int:
    try:
        value = picture.getexif().get(_ORIENTATION_TAG, 1)
        return int(value)
    except Exception:
        # Broken EXIF beside whole pixels: the picture is good, its orientation unknown.
        return 1


def _rgb(picture: Image.Image) -> np.ndarray:
    """Pixels of a loaded picture of any mode as uint8 [H, W, 3]."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return np.array(picture)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _rgb_from_16_bit(np.asarray(picture))
    if picture.mode == "F":
        raise BadPicture("floating-point pixels, whose range is unknown: save it as 8 or 16 bit")
    if "transparency" in picture.info or picture.mode in ("RGBA", "LA", "PA"):
        rgba = np.asarray(picture.convert("RGBA"), dtype=np.uint16)
        colour, alpha = rgba[..., :3], rgba[..., 3:]
        return ((colour * alpha + BACKGROUND * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.array(picture.convert("RGB"))


def _rgb_from_16_bit(grey: np.ndarray) -> np.ndarray:
    # Pillow reads some 16-bit kinds (PGM) as 32-bit integers.
    if grey.dtype.itemsize > 2 and (grey.min() < 0 or grey.max() > 65535):
        raise BadPicture("32-bit pixels beyond 0-65535: save it as 8 or 16 bit")
    eight_bit = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.repeat(eight_bit[..., None], 3, axis=2)
