"""Sheets of face crops to look at, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 96  # pixels of a face on a sheet, smaller crops are enlarged
MOST = 64
_COLUMNS = 4
_TITLE = 18
_GAP = 4
_BETWEEN = 20


def sheet(titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Groups of faces that belong together, side by side, four groups in a line.

    Args:
        titles: what each face of a group is.
        rows: the groups, uint8 [S, S, 3] each.
    """
    columns = min(_COLUMNS, max(1, len(rows)))
    lines = -(-len(rows) // columns)
    side = max([SIDE, *(face.shape[0] for row in rows[:1] for face in row)])
    wide = len(titles) * (side + _GAP) - _GAP + _BETWEEN
    size = (columns * wide - _BETWEEN, _TITLE + lines * (side + _GAP) - _GAP)
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=12)
    for column in range(columns):
        for i, title in enumerate(titles):
            middle = column * wide + i * (side + _GAP) + side // 2
            draw.text((middle, _TITLE // 2), title, "black", font, anchor="mm")
    for n, row in enumerate(rows):
        top = _TITLE + n // columns * (side + _GAP)
        for i, face in enumerate(row):
            picture.paste(enlarged(face, side), (n % columns * wide + i * (side + _GAP), top))
    return picture


def enlarged(face: np.ndarray, side: int) -> Image.Image:
    """A face at this many pixels a side."""
    picture = Image.fromarray(np.ascontiguousarray(face))
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BICUBIC)
    return picture


def png(picture: Image.Image | np.ndarray) -> bytes:
    """A picture as a PNG file."""
    data = io.BytesIO()
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(np.ascontiguousarray(picture))
    picture.save(data, "PNG")
    return data.getvalue()
