"""Small images for a report's galleries, found by their keys in a data folder."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from linear_probe.tasks.face_sets import rendered_faces
from ssl_faces.data import BadImage, FaceSet, find_face_sets
from ssl_faces.data.pictures import square

SIDE = 72


class Thumbnails:
    """Images of the face sets in a folder.

    Args:
        data: the folder, `rendered` or `rendered:COUNT`; None has no image.

    Raises:
        InputError: the folder is missing or holds no images.
    """

    def __init__(self, data: str | Path | None) -> None:
        self._data = data
        # By seed of rendered faces; None: of a folder.
        self._sets: dict[int | None, list[_Numbered]] = {}
        self._rendered = data is not None and rendered_faces(data, 0) is not None
        if data is not None and not self._rendered:
            self._sets[None] = [_Numbered(faces) for faces in find_face_sets(data, "all")]

    def of(self, keys: Sequence[str], among: Sequence[str], seed: int) -> list[str | None]:
        """Each key's image as a data URI; None if it isn't found or can't be decoded.

        Args:
            among: keys of all rows: the face set must have all of them.
            seed: of rendered faces.
        """
        if self._rendered and seed not in self._sets:
            assert self._data is not None
            faces = rendered_faces(self._data, seed)
            self._sets[seed] = [_Numbered(faces)] if faces else []
        wanted = {key for row in among for key in row.split("\t")}
        for numbered in self._sets.get(seed if self._rendered else None, []):
            if wanted <= numbered.numbers.keys():
                return [numbered.uri(key) for key in keys]
        return [None] * len(keys)


class _Numbered:
    """A face set with the numbers of its images by their keys."""

    def __init__(self, faces: FaceSet) -> None:
        self.faces = faces
        self.numbers = {record.key: i for i, record in enumerate(faces.records)}

    def uri(self, key: str) -> str | None:
        try:
            image = self.faces.read(self.numbers[key], at_least=SIDE)
        except BadImage:
            return None
        stream = io.BytesIO()
        Image.fromarray(square(image, SIDE).transpose(1, 2, 0)).save(stream, "JPEG", quality=80)
        return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
