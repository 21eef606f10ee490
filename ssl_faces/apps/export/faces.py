"""Faces to check an exported file on, and to calibrate 8 bits by."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ssl_faces.apps.arguments import RENDERED
from ssl_faces.common.errors import InputError
from ssl_faces.data import BadImage, ImageFolder, Part, find_face_sets, usual_faces
from ssl_faces.data.pictures import square
from ssl_faces.rendered import RenderedFaces


class Faces(NamedTuple):
    """Faces: `images` float32 [N, 3, S, S] in [0, 1], and `of`, their description."""

    images: Tensor
    of: str


def data_named(data: str | None) -> str:
    """The given folder or `rendered`; by default the usual folder if it holds anything."""
    return str((data if data is not None else usual_faces()) or RENDERED)


def some_faces(data: str, part: Part, size: int, count: int) -> Faces:
    """Up to `count` faces of a part: as many of each set, spread evenly.

    A folder of pictures without a test part gives any of its pictures.

    Args:
        data: from `data_named`.
        part: `train` or `test`.
        size: side to which they are resized.

    Raises:
        InputError: the folder can't be used, or none of its images can be decoded.
    """
    if data == RENDERED:
        rendered = RenderedFaces(8 * count, max(16, count), part, size=size)
        images = rendered.render_batch(range(min(count, len(rendered)))).float() / 255
        return Faces(images, f"{len(images)} rendered faces, part {part}")
    sets = [faces for faces in find_face_sets(data, part) if len(faces)]
    if not sets:
        sets = [f for f in find_face_sets(data, "train") if isinstance(f, ImageFolder)]
    if not sets:
        raise InputError(f"{data} holds no face of the part '{part}'; give another --data")
    crops: list[np.ndarray] = []
    counts = []
    for i, faces in enumerate(sets):
        share = count * (i + 1) // len(sets) - count * i // len(sets)
        indices = np.linspace(0, len(faces) - 1, min(share, len(faces))).astype(int)
        shrink = partial(square, size=size)
        read = faces.read_many(np.unique(indices).tolist(), at_least=size, shrink=shrink)
        good = [crop for crop in read if not isinstance(crop, BadImage)]
        crops += good
        if good:
            counts.append(f"{faces.title} {len(good)}")
    if not crops:
        raise InputError(f"{data}: none of its pictures can be decoded; check that they are whole")
    images = torch.from_numpy(np.stack(crops)).float().div_(255)
    return Faces(images, f"{len(images)} faces, part {part}: {', '.join(counts)}")
