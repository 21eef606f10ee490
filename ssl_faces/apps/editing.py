"""A method's edits of face crops, and sheets of crops to look at."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ssl_faces.apps.embedding import as_crops, as_images
from ssl_faces.callbacks.panels import panel
from ssl_faces.common.errors import InputError
from ssl_faces.methods.loading import load_method
from ssl_faces.methods.method import TWO_FACE_EDITS, Method

BATCH = 32
SIDE = 96  # pixels of a face on a sheet; smaller crops are enlarged
MOST = 64  # faces on a sheet
_COLUMNS = 8


def open_method(name_or_path: str | os.PathLike[str], *edits: str) -> Method:
    """A method that has these edits, ready for `apply_edit`.

    Args:
        name_or_path: a run's folder, a checkpoint, or the name of a released method.

    Raises:
        InputError: no such method, or one without these edits.
    """
    method = load_method(name_or_path)
    lacking = [edit for edit in edits if edit not in method.edits()]
    if lacking:
        raise InputError(
            f"--with {os.fsdecode(name_or_path)}: {method.name} makes no {lacking[0]}, it makes "
            f"{', '.join(method.edits()) or 'none'}; give a run that does"
        )
    return method


def apply_edit(
    method: Method,
    edit: str,
    crops: Sequence[np.ndarray],
    people: Sequence[np.ndarray] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Edited face crops, uint8 [N, S, S, 3]. Each depends on its own input only.

    Args:
        method: from `open_method`.
        edit: one of `method.edits()`.
        crops: uint8 RGB [S, S, 3] each, S = `method.picture_size`, as from a `FaceFinder`.
        people: for the edits `TWO_FACE_EDITS`, crops of the target identity: one for each, or one
            for all.
        seed: of the noise that some methods render with.

    Raises:
        InputError: the result holds NaN.
    """
    if people is not None and len(people) == 1:
        people = [people[0]] * len(crops)
    device = next(method.parameters()).device
    results = [np.zeros((0, method.picture_size, method.picture_size, 3), np.uint8)]
    for start in range(0, len(crops), BATCH):
        images = [as_images(crops[start : start + BATCH]).to(device)]
        if edit in TWO_FACE_EDITS:
            assert people is not None
            images.append(as_images(people[start : start + BATCH]).to(device))
        with torch.no_grad():
            results.append(as_crops(method.edits()[edit](*images, seed=seed)))
    return np.concatenate(results)


def sheet(titles: Sequence[str], groups: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    """Groups of faces, each as a column, eight columns per row.

    Args:
        titles: of the faces of every group.
        groups: uint8 [S, S, 3] each.
    """
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
