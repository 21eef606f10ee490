"""Sheets of face crops to look at, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE = 96  # pixels of a face on a sheet, smaller crops are enlarged
MOST = 64
_COLUMNS = 8


def sheet(titles: Sequence[str], groups: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Groups of faces that belong together, each below the other, eight groups side by side.

    Args:
        titles: what each face of a group is.
        groups: uint8 [S, S, 3] each.
    """
    from ssl_faces.apps.embedding import as_images
    from ssl_faces.callbacks.panels import panel

    side = max([SIDE, *(face.shape[0] for group in groups[:1] for face in group)])
    panels = []
    for start in range(0, len(groups), _COLUMNS):
        some = [
            [np.asarray(enlarged(face, side)) for face in group]
            for group in groups[start : start + _COLUMNS]
        ]
        kinds = zip(titles, zip(*some, strict=True), strict=True)
        panels.append(panel({title: as_images(faces) for title, faces in kinds}))
    widths, heights = zip(*(one.size for one in panels), strict=True)
    picture = Image.new("RGB", (max(widths), sum(heights)), "white")
    for one, top in zip(panels, np.cumsum([0, *heights[:-1]]).tolist(), strict=True):
        picture.paste(one, (0, top))
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
