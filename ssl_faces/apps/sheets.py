"""Sheets of face crops to look at, as PNG."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

SIDE = 96  # pixels of a face on a sheet; smaller crops are enlarged
MOST = 64
_COLUMNS = 8


def sheet(titles: Sequence[str], groups: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Groups of faces, each as a column, eight columns per row.

    Args:
        titles: of the faces of every group.
        groups: uint8 [S, S, 3] each.
    """
    from ssl_faces.apps.embedding import as_images
    from ssl_faces.callbacks.panels import panel

    side = max([SIDE, *(face.shape[0] for group in groups[:1] for face in group)])
    panels = []
    for start in range(0, len(groups), _COLUMNS):
        rows = zip(*groups[start : start + _COLUMNS], strict=True)
        faces = [as_images([np.asarray(enlarged(face, side)) for face in row]) for row in rows]
        panels.append(panel(dict(zip(titles, faces, strict=True))))
    image = Image.new(
        "RGB", (max(part.width for part in panels), sum(part.height for part in panels)), "white"
    )
    top = 0
    for part in panels:
        image.paste(part, (0, top))
        top += part.height
    return image


def enlarged(face: np.ndarray, side: int) -> Image.Image:
    """A face at this many pixels a side."""
    image = Image.fromarray(np.ascontiguousarray(face))
    if image.size == (side, side):
        return image
    return image.resize((side, side), Image.Resampling.BICUBIC)
