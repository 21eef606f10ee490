"""Faces that an exported file is checked on: of the test parts, and of the training parts to
calibrate 8 bits by."""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_faces.common.errors import InputError
from ssl_faces.data import (
    BadPicture,
    FaceSet,
    Part,
    PictureFolder,
    default_data_root,
    find_face_sets,
)
from ssl_faces.data.store.packing import square
from ssl_faces.rendered import RenderedFaces

RENDERED = "rendered"


class Faces(NamedTuple):
    """Some faces.

    Attributes:
        images: float32 [N, 3, S, S] in [0, 1].
        of: what they are, in words.
    """

    images: Tensor
    of: str


def data_named(data: str | None) -> str:
    """The folder to take faces from, or `rendered`: what is given, else the usual folder where it
    holds anything.

    Raises:
        InputError: what is given is no such folder.
    """
    if data is not None:
        return data
    root = default_data_root()
    named = bool(os.environ.get("SSL_FACES_DATA"))
    return str(root) if named or (root.is_dir() and any(root.iterdir())) else RENDERED


def some_faces(data: str, part: Part, size: int, count: int) -> Faces:
    """`count` faces of a part, or those that there are: as many of each set, spread evenly.

    A folder of pictures without a test part gives any of its pictures.

    Args:
        data: as `data_named` gives it.
        part: `train` or `test`.
        size: side to which they are resized.

    Raises:
        InputError: the folder can't be used, or none of its pictures can be decoded.
    """
    if data == RENDERED:
        drawn = RenderedFaces(8 * count, max(16, count), part, size=size)
        images = drawn.render_batch(range(min(count, len(drawn)))).float() / 255
        return Faces(images, f"{len(images)} rendered faces, part {part}")
    sets = [faces for faces in find_face_sets(data, part) if len(faces)]
    if not sets:
        sets = [f for f in find_face_sets(data, "train") if isinstance(f, PictureFolder)]
    if not sets:
        raise InputError(f"{data} holds no face of the part '{part}'; give another --data")
    found, told = [], []
    for i, faces in enumerate(sets):
        share = count * (i + 1) // len(sets) - count * i // len(sets)
        here = _of_set(faces, size, share)
        if here:
            found += here
            told.append(f"{faces.title} {len(here)}")
    if not found:
        raise InputError(f"{data}: none of its pictures can be decoded; check that they are whole")
    images = torch.from_numpy(np.stack(found)).float().div_(255)
    return Faces(images, f"{len(images)} faces, part {part}: {', '.join(told)}")


def _of_set(faces: FaceSet, size: int, count: int) -> list[np.ndarray]:
    """uint8 [3, size, size] each; broken pictures are left out."""
    indices = np.unique(np.linspace(0, len(faces) - 1, min(count, len(faces))).astype(int))
    pictures = faces.read_many(indices.tolist(), at_least=size, shrink=partial(square, size=size))
    return [one for one in pictures if not isinstance(one, BadPicture)]
