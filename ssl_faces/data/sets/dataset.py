"""A data set of Hugging Face's `datasets` as a face set."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ssl_faces.common.errors import InputError, reason_of
from ssl_faces.data.faces import FaceRecord, FaceSet
from ssl_faces.data.pictures import BadImage, content_hash, decode_image
from ssl_faces.data.sets.expressions import label_of_classes


class DatasetFaces(FaceSet):
    """Faces of a `datasets.Dataset`, one split, with a column of images.

    Images stay in the data set's files and are decoded when they are read. Keys are row numbers.

    Args:
        dataset: such as `load_dataset(NAME, split="train")`; not streamed.
        image: column of images; None: the only column of type `datasets.Image`.
        label: column of classes, of type `ClassLabel`; None: the only one, if there is one. Where
            every class is an expression (as in `ClassFolders`), images have the label
            `expression`, else `category`. Rows with -1 or None have no label.
        person: column that names the person, for pairs of one person and splits by person.
        name: how tables and cards call the set; None: the data set's own name.

    Raises:
        InputError: no such column, several that could be meant, or a streamed data set.
    """

    def __init__(
        self,
        dataset: Any,
        image: str | None = None,
        label: str | None = None,
        person: str | None = None,
        name: str | None = None,
    ) -> None:
        try:
            from datasets import ClassLabel, Dataset, Image
        except ImportError as error:
            raise InputError(
                f"data sets of Hugging Face need the package datasets ({reason_of(error)}); "
                "pip install 'ssl-faces[hub]'"
            ) from error
        if not isinstance(dataset, Dataset):
            raise InputError(
                f"faces: a {type(dataset).__name__}; give a folder, a FaceSet, or one split of a "
                "data set as datasets.Dataset: load_dataset(NAME, split='train')"
            )
        column = partial(_column, dataset)
        image = column(image, "image", Image)
        if image is None:
            raise InputError(
                f"data set: no column of images among {', '.join(dataset.column_names)}; cast one "
                "to datasets.Image"
            )
        label = column(label, "label", ClassLabel)
        column(person, "person", None)
        self._images = dataset.select_columns([image]).cast_column(image, Image(decode=False))
        self._column = image
        self._version = str(dataset._fingerprint).encode()
        names = [] if label is None else list(dataset.features[label].names)
        kind, classes, numbers = label_of_classes(names)
        known = [None] * len(dataset) if label is None else dataset[label]
        people = [None] * len(dataset) if person is None else dataset[person]
        records = [
            FaceRecord(
                f"{row:07d}",
                b"",
                None if who is None else str(who),
                {} if number is None or number < 0 else {kind: numbers[number]},
            )
            for row, (number, who) in enumerate(zip(known, people, strict=True))
        ]
        super().__init__(name or dataset.info.dataset_name or "dataset", "all", records)
        self.near_copies = person is None
        if label is not None:
            self.class_names = {kind: classes}

    def _stored(self, index: int) -> Path | bytes:
        """The image's bytes, or the file that holds them."""
        stored = self._images[index][self._column] or {}
        if content := stored.get("bytes"):
            return bytes(content)
        if not stored.get("path"):
            raise BadImage("the row has no image")
        return Path(stored["path"])

    def read(self, index: int, at_least: int | None = None) -> np.ndarray:
        return decode_image(self._stored(index), at_least=at_least)

    def content_hash(self, index: int) -> bytes:
        stored = self._stored(index)
        return (
            hashlib.sha256(stored).digest() if isinstance(stored, bytes) else content_hash(stored)
        )

    def version(self, index: int) -> bytes:
        return self._version


def face_set_of(faces: Any) -> FaceSet:
    """A face set as it is, a `datasets.Dataset` as `DatasetFaces`. Raises InputError: neither."""
    return faces if isinstance(faces, FaceSet) else DatasetFaces(faces)


def _column(dataset: Any, name: str | None, argument: str, kind: type | None) -> str | None:
    """The named column, or the only one of a kind; None if there is none. Raises InputError: no
    such column, or several of the kind."""
    columns = dataset.column_names
    of_kind = [c for c in columns if kind is not None and isinstance(dataset.features[c], kind)]
    if name is not None:
        if name not in (of_kind if kind else columns):
            what = f"of type {kind.__name__} " if kind else ""
            raise InputError(
                f"{argument}: the data set has no column '{name}' {what}among {', '.join(columns)}"
            )
        return name
    if len(of_kind) > 1:
        raise InputError(
            f"data set: the columns {', '.join(of_kind)} could be meant; use "
            f"DatasetFaces(dataset, {argument}='{of_kind[0]}')"
        )
    return of_kind[0] if of_kind else None
