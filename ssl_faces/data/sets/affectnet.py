"""AffectNet: faces from the web with an expression, valence and arousal from one annotator.

Source: Mollahosseini, Hasani and Mahoor, "AffectNet: A Database for Facial Expression, Valence,
and Arousal Computing in the Wild", IEEE Transactions on Affective Computing, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import existing_folder, regular
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, images_under
from ssl_faces.data.sets.recognised import Entry, RecognisedSet, sides_of
from ssl_faces.data.tables import MEND, has_columns, number_in, read_table, whole_number_in

LABELS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
"""What the owner's labels 0 to 7 mean."""

LEFT_OUT = {8: "none", 9: "uncertain", 10: "no face"}
"""Labels that are no expression."""

CLASSES = (*EXPRESSIONS, "contempt")

NOT_GIVEN = -2.0
"""The owner's valence and arousal of images without them."""

_CSV_COLUMNS = ("subDirectory_filePath", "expression", "valence", "arousal")
_BOX_COLUMNS = ("face_x", "face_y", "face_width", "face_height")
_SIDES = {
    "train": ("training.csv", "train_set"),
    "test": ("validation.csv", "val_set"),
}


class _Row(NamedTuple):
    key: str
    path: Path
    expression: int
    valence: float
    arousal: float
    box: tuple[int, int, int, int] | None


class AffectNet(RecognisedSet):
    """AffectNet with `expression`, `valence` and `arousal` (-1 to 1); no person is known.

    `root` holds, for training and validation part, either the tables `training.csv` and
    `validation.csv` (columns `subDirectory_filePath`, `expression`, `valence`, `arousal`; faces are
    cut out where `face_x`, `face_y`, `face_width` and `face_height` are there) beside the images,
    in a folder `Manually_Annotated_Images` or not, or the folders `train_set` and `val_set` with
    `images/N.jpg` and `annotations/N_exp.npy`, `N_val.npy`, `N_aro.npy`.

    The validation part is `test`: the owner's test labels were never published. Seven classes;
    contempt (see `AffectNet8`), no expression, uncertain and non-faces are left out and listed in
    `skipped`.
    """

    name = "affectnet"
    title = "AffectNet"
    split = "training -> validation"
    labels: ClassVar[tuple[str, ...]] = ("expression", "valence", "arousal")
    near_copies = True

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        for table_name, folder_name in _SIDES.values():
            table = entry_of(folder, table_name)
            if entry_of(folder, f"{folder_name}/annotations") is not None:
                return True
            if table is not None and has_columns(table, _CSV_COLUMNS[0]):
                return True
        return False

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        names = [_SIDES[side] for side in sides_of(part)]
        self.need(folder, *chain(*names), beside="the images")
        for table, arrays in names:
            if (place := entry_of(folder, table)) is not None:
                rows = _rows_of_csv(folder, place)
            elif (place := entry_of(folder, arrays)) is not None:
                rows = _rows_of_arrays(place)
            else:
                continue
            for row in rows:
                yield row if isinstance(row, Skipped) else self._entry(row)

    def _entry(self, row: _Row) -> Entry:
        classes = self.class_names["expression"]
        name = LEFT_OUT.get(row.expression) or LABELS[row.expression]
        if name not in classes:
            count = {7: "seven", 8: "eight"}[len(classes)]
            return Skipped(row.key, f"labelled {name}: none of the {count}")
        if not row.path.is_file():
            return Skipped(row.key, "labelled, missing on disk")
        labels: dict[str, Any] = {"expression": classes.index(name)}
        if "valence" in self.labels and NOT_GIVEN not in (row.valence, row.arousal):
            labels |= {"valence": row.valence, "arousal": row.arousal}
        return FaceRecord(row.key, row.path, labels=labels, box=row.box)


class AffectNet8(AffectNet):
    """AffectNet with `expression` of eight classes: contempt is the last.

    It lies in the folder of `AffectNet` and labels the same images, those of contempt besides.
    `train` is empty, so that pretraining doesn't see images twice; `all` has the training part.
    """

    name = "affectnet8"
    title = "AffectNet-8"
    labels = ("expression",)
    class_names = MappingProxyType({"expression": CLASSES})
    same_images_as = "affectnet"
    may_be_empty = ("train",)

    def entries(self, folder: Path, part: Part) -> Iterator[Entry]:
        if part != "train":
            yield from super().entries(folder, part)


def _rows_of_csv(folder: Path, table: Path) -> Iterator[_Row | Skipped]:
    images = entry_of(folder, "Manually_Annotated_Images") or folder
    boxed = has_columns(table, *_BOX_COLUMNS)
    for where, row in read_table(table, _CSV_COLUMNS, _BOX_COLUMNS if boxed else ()):
        key = row["subDirectory_filePath"]
        if not key or key.startswith("/") or ".." in key.split("/"):
            raise InputError(
                f"{where}: subDirectory_filePath is '{shorten(key)}', not a picture below the "
                f"folder; {MEND}"
            )
        box = None
        if boxed and row["expression"] not in map(str, LEFT_OUT):
            left, top, width, height = (
                whole_number_in(row[name], name, where, -100_000, 100_000) for name in _BOX_COLUMNS
            )
            box = (left, top, left + width, top + height)
        yield _row_of(key, images / key, row, where, box)


def _rows_of_arrays(side: Path) -> Iterator[_Row | Skipped]:
    annotations, images = (
        entry_of(side, name) or side / name for name in ("annotations", "images")
    )
    for name in images_under(existing_folder(images, "affectnet")):
        stem = name.rpartition(".")[0]
        key = f"{side.name}/{name}"
        paths = [annotations / f"{stem}_{what}.npy" for what in ("exp", "val", "aro")]
        if not all(path.is_file() for path in paths):
            yield Skipped(key, "its annotations are missing")
            continue
        numbers = dict(zip(_CSV_COLUMNS[1:], map(_number_of, paths), strict=True))
        yield _row_of(key, images / name, numbers, f"{annotations}/{stem}_….npy", None)


def _number_of(path: Path) -> str:
    """The one number in an .npy file, as text: some copies store it as text."""
    try:
        values = np.load(regular(path), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"affectnet: {path} is not an array file of one number ({error}); get it anew"
        ) from error
    if values.size != 1:
        raise InputError(f"affectnet: {path} holds {values.size} numbers, not one; get it anew")
    return str(values.reshape(-1)[0])


def _row_of(
    key: str, path: Path, row: Mapping[str, str], where: str, box: tuple[int, int, int, int] | None
) -> _Row:
    expression = whole_number_in(row["expression"], "expression", where, 0, max(LEFT_OUT))
    affect = {what: number_in(row[what], what, where, NOT_GIVEN, 1) for what in _CSV_COLUMNS[2:]}
    for what, value in affect.items():
        if value < -1 and value != NOT_GIVEN:
            raise InputError(
                f"{where}: {what} is {value:g}, neither from -1 to 1 nor {NOT_GIVEN:g} for none; "
                f"{MEND}"
            )
    return _Row(key, path, expression, **affect, box=box)
