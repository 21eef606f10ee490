"""AffectNet: faces from the web with an expression, valence and arousal, told by one annotator.

Source: Mollahosseini, Hasani and Mahoor, "AffectNet: A Database for Facial Expression, Valence,
and Arousal Computing in the Wild", IEEE Transactions on Affective Computing, 2019.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import regular
from ssl_faces.data.faces import EXPRESSIONS, FaceRecord, FaceSet, Part, Skipped
from ssl_faces.data.sets.folder import entry_of, existing_folder, pictures_under
from ssl_faces.data.tables import has_columns, number_in, read_table, whole_number_in

LABELS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")
"""What the owner's labels 0 to 6 mean."""

LEFT_OUT = {7: "contempt", 8: "none", 9: "uncertain", 10: "no face"}
"""Labels of none of the seven expressions."""

NOT_GIVEN = -2.0
"""The owner's valence and arousal of what has none."""

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


class AffectNet(FaceSet):
    """AffectNet with `expression`, `valence` and `arousal` (-1 to 1); no person is known.

    `root` holds, for training and validation part, either the tables `training.csv` and
    `validation.csv` (columns `subDirectory_filePath`, `expression`, `valence`, `arousal`; faces are
    cut out where `face_x`, `face_y`, `face_width` and `face_height` are there) beside the pictures,
    in a folder `Manually_Annotated_Images` or not, or the folders `train_set` and `val_set` with
    `images/N.jpg` and `annotations/N_exp.npy`, `N_val.npy`, `N_aro.npy`.

    The validation part is `test`: the owner's test labels were never published. Seven classes;
    contempt, no expression, uncertain and non-faces are left out, listed in `skipped` and counted
    in `left_out`.

    Attributes:
        left_out: how many pictures of each label that is none of the seven.

    Raises:
        InputError: folder missing, of neither layout, or a label that can't be read.
    """

    title = "AffectNet"
    split = "training -> validation"

    left_out: dict[str, int]

    def __init__(self, root: str | Path, part: Part = "train") -> None:
        folder = existing_folder(root, "affectnet")
        records: list[FaceRecord] = []
        skipped: list[Skipped] = []
        left_out: dict[str, int] = {}
        seen = False
        for side in ("train", "test") if part == "all" else (part,):
            table, arrays = (entry_of(folder, name) for name in _SIDES[side])
            if table is None and arrays is None:
                continue
            seen = True
            rows = _rows_of_csv(folder, table) if table else _rows_of_arrays(arrays, skipped)
            for row in rows:
                if row.expression in LEFT_OUT:
                    reason = LEFT_OUT[row.expression]
                    left_out[reason] = left_out.get(reason, 0) + 1
                    skipped.append(Skipped(row.key, f"labelled {reason}: none of the seven"))
                    continue
                if not row.path.is_file():
                    skipped.append(Skipped(row.key, "labelled, missing on disk"))
                    continue
                labels: dict[str, Any] = {"expression": EXPRESSIONS.index(LABELS[row.expression])}
                if NOT_GIVEN not in (row.valence, row.arousal):
                    labels |= {"valence": row.valence, "arousal": row.arousal}
                records.append(FaceRecord(row.key, row.path, labels=labels, box=row.box))
        if not seen:
            wanted = " or ".join(_SIDES["test" if part == "test" else "train"])
            raise InputError(
                f"affectnet: {folder} has no {wanted}, so no part '{part}'; "
                "give the folder that holds them"
            )
        super().__init__(
            "affectnet", part, records, skipped=skipped, test=partial(AffectNet, root, "test")
        )
        self.left_out = left_out


def is_layout(folder: Path) -> bool:
    for table_name, folder_name in _SIDES.values():
        table, arrays = entry_of(folder, table_name), entry_of(folder, folder_name)
        if arrays is not None and entry_of(arrays, "annotations") is not None:
            return True
        if table is not None and has_columns(table, _CSV_COLUMNS[0]):
            return True
    return False


def _rows_of_csv(folder: Path, table: Path) -> Iterator[_Row]:
    images = entry_of(folder, "Manually_Annotated_Images") or folder
    boxed = has_columns(table, *_BOX_COLUMNS)
    for where, row in read_table(table, _CSV_COLUMNS, _BOX_COLUMNS if boxed else ()):
        key = row["subDirectory_filePath"]
        if not key or key.startswith("/") or ".." in key.split("/"):
            raise InputError(
                f"{where}: subDirectory_filePath is '{shorten(key)}', not a picture below the "
                "folder; mend or delete the line"
            )
        expression = whole_number_in(row["expression"], "expression", where, 0, max(LEFT_OUT))
        box = None
        if boxed and expression not in LEFT_OUT:
            left, top, width, height = (
                whole_number_in(row[name], name, where, -100_000, 100_000) for name in _BOX_COLUMNS
            )
            box = (left, top, left + width, top + height)
        valence, arousal = (_affect(row[name], name, where) for name in ("valence", "arousal"))
        yield _Row(key, images / key, expression, valence, arousal, box)


def _rows_of_arrays(side: Path | None, skipped: list[Skipped]) -> Iterator[_Row]:
    assert side is not None
    annotations, images = entry_of(side, "annotations"), entry_of(side, "images")
    if annotations is None or images is None:
        raise InputError(
            f"affectnet: {side} has no {'annotations' if annotations is None else 'images'}/; "
            "unpack both of the owner's folders"
        )
    for name in pictures_under(images):
        stem = name.rpartition(".")[0]
        key = f"{side.name}/{name}"
        paths = [annotations / f"{stem}_{what}.npy" for what in ("exp", "val", "aro")]
        if not all(path.is_file() for path in paths):
            skipped.append(Skipped(key, "its annotations are missing"))
            continue
        expression = whole_number_in(
            _number_of(paths[0]), "expression", str(paths[0]), 0, max(LEFT_OUT)
        )
        valence, arousal = (
            _affect(_number_of(path), what, str(path))
            for path, what in zip(paths[1:], ("valence", "arousal"), strict=True)
        )
        yield _Row(key, images / name, expression, valence, arousal, None)


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


def _affect(text: str, what: str, where: str) -> float:
    value = number_in(text, what, where, NOT_GIVEN, 1)
    if value < -1 and value != NOT_GIVEN:
        raise InputError(
            f"{where}: {what} is {value:g}, neither from -1 to 1 nor {NOT_GIVEN:g} for none; "
            "mend or delete the line"
        )
    return value
