"""Small images for a report's galleries, found by their keys in a data folder."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from linear_probe.tasks.face_sets import rendered_faces
from ssl_faces.data import BadImage, FaceSet, find_face_sets
from ssl_faces.data.store.packing import square

SIDE = 72


class Thumbnails:
    """Images of the face sets in a folder.

    Args:
        data: the folder, `rendered` or `rendered:COUNT`; None has no image.

    Raises:
        InputError: the folder is missing or holds no images.
    """

    def __init__(self, data: str | Path | None) -> None:
        self._rendered = data if data is not None and rendered_faces(data, 0) else None
        named = data is not None and self._rendered is None
        self._face_sets: list[FaceSet] = find_face_sets(data, "all") if data and named else []
        self._rendered_by_seed: dict[int, FaceSet] = {}
        self._numbers: dict[int, dict[str, int]] = {}

    def of(self, keys: Sequence[str], among: Sequence[str], seed: int) -> list[str | None]:
        """Each key's image as a data URI; None if it isn't found or can't be decoded.

        Args:
            among: keys of all rows: the face set must have all of them.
            seed: of rendered faces.
        """
        faces = self._face_set(among, seed)
        if faces is None:
            return [None] * len(keys)
        return [_uri(faces, self._number(faces)[key]) for key in keys]

    def _face_set(self, keys: Sequence[str], seed: int) -> FaceSet | None:
        face_sets = self._face_sets
        if self._rendered is not None:
            if seed not in self._rendered_by_seed:
                rendered = rendered_faces(self._rendered, seed)
                assert rendered is not None
                self._rendered_by_seed[seed] = rendered
            face_sets = [self._rendered_by_seed[seed]]
        wanted = {key for row in keys for key in row.split("\t")}
        for faces in face_sets:
            if wanted <= self._number(faces).keys():
                return faces
        return None

    def _number(self, faces: FaceSet) -> dict[str, int]:
        if id(faces) not in self._numbers:
            self._numbers[id(faces)] = {r.key: i for i, r in enumerate(faces.records)}
        return self._numbers[id(faces)]


def _uri(faces: FaceSet, index: int) -> str | None:
    try:
        image = faces.read(index, at_least=SIDE)
    except BadImage:
        return None
    stream = io.BytesIO()
    Image.fromarray(square(image, SIDE).transpose(1, 2, 0)).save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
