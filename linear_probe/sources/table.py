"""`FILE.npz` or `FILE.parquet`: features made elsewhere, by the keys of pictures."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from linear_probe.features.frozen import Features, KeyedSource, Pictures
from linear_probe.features.source import Precision
from linear_probe.sources.opening import Opened, opens
from ssl_faces import InputError
from ssl_faces.apps.arguments import writable
from ssl_faces.common.errors import reason_of
from ssl_faces.common.files import regular
from ssl_faces.common.finite import non_finite_rows
from ssl_faces.data import FaceRecord, JoinedFaces, Skipped

MOST_MISSING = 0.2
"""Share of a face set's pictures that may lack a row; more stop the run."""

_TEXT = ("string", "empty")
COLUMNS = "features"
"""The space of a Parquet file's plain numeric columns, where it has no columns of lists."""


class EmbeddingTable(KeyedSource):
    """Features of pictures by their keys.

    A key is `SET/KEY` or `KEY` as in the face set, or the end of the picture's path from a slash
    on, as `ssl-faces embed` writes it. A key that ends as `KEY` does is enough where only one does.

    | file | keys | feature spaces |
    | --- | --- | --- |
    | `.npz` | array `keys`, text [N] | each other array, numbers [N, D], but `__…` |
    | `.parquet` | column `key` | each column of lists of one length; where there is none, all \
columns of numbers together, as `features` |

    Args:
        name: the file; how tables of figures call it.

    Raises:
        InputError: the file is no such table, a key stands twice, or features are NaN or infinite.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path(name)
        read = _read_npz if self.path.suffix == ".npz" else _read_parquet
        try:
            keys, spaces = read(self.path)
            with self.path.open("rb") as file:
                self.fingerprint = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(
                f"{self.path}: can't be read ({error.strerror or error}); give an embedding table"
            ) from error
        self._row_of = {key: row for row, key in enumerate(keys)}
        if len(self._row_of) < len(keys):
            twice = next(k for row, k in enumerate(keys) if self._row_of[k] != row)
            raise InputError(
                f"{self.path}: key '{twice}' stands twice; keep one row for each picture"
            )
        if not keys or not spaces:
            what = "features" if keys else "rows"
            raise InputError(f"{self.path}: holds no {what}; give keys and at least one array")
        self._values = {space: _checked(self.path, space, x, keys) for space, x in spaces.items()}
        self.dims = {space: values.shape[1] for space, values in self._values.items()}
        self._keys = keys
        self._claims: dict[int, tuple[str, FaceRecord]] = {}

    def missing(self, pictures: Pictures) -> list[Skipped]:
        """Images without a row, and those that can't be read, which no encoder would see either.
        Raises InputError: more than `MOST_MISSING` lack a row, or a row may be of two images."""
        rows, keys = self._rows(pictures), _keys(pictures)
        without = [key for row, key in zip(rows, keys, strict=True) if row < 0]
        faces = pictures.faces.name
        if len(without) > MOST_MISSING * len(keys):
            raise InputError(
                f"{self.path}: has no row for {len(without):,} of the {len(keys):,} pictures of "
                f"{faces} ({len(without) / len(keys):.0%}), such as '{without[0]}' (the table has "
                f"keys such as '{self._keys[0]}'); give a row for each, or with --task only tasks "
                f"on other data than {faces}"
            )
        skipped = [Skipped(key, f"no row in {self.path}") for key in without]
        return skipped + [
            Skipped(key, "can't be read")
            for row, key, content in zip(rows, keys, pictures.hashes, strict=True)
            if row >= 0 and not content
        ]

    def read(self, pictures: Pictures, space: str) -> Features:
        """The features of those pictures that have a row and can be read."""
        rows = self._rows(pictures)
        usable = (rows >= 0) & np.array([bool(content) for content in pictures.hashes])
        return Features(self._values[space][rows[usable]], pictures.indices[usable])

    def _rows(self, pictures: Pictures) -> np.ndarray:
        """The row of each image, int64 [N]; -1 where there is none. The first of the three ways in
        the class's description that finds any row is the way for all these images."""
        faces, keys = pictures.faces.name, _keys(pictures)
        rows = [self._row_of.get(f"{faces}/{key}", -1) for key in keys]
        if max(rows, default=-1) < 0:
            records = [pictures.faces.records[i] for i in pictures.indices]
            rows = [self._row_of.get(key, -1) for key in keys]
            if max(rows, default=-1) < 0:
                in_part = isinstance(pictures.faces, JoinedFaces)
                rows = [self._row_by_path(record, in_part) for record in records]
            for row, record in zip(rows, records, strict=True):
                if row >= 0:
                    self._claim(row, faces, record)
        return np.array(rows, dtype=np.int64)

    def _row_by_path(self, record: FaceRecord, in_part: bool) -> int:
        """The row whose key is the end of the image's path, or else whose key ends as the image's
        own key does; -1 where there is none; InputError if several may be of it. `in_part`: the
        key begins with its part, as in `JoinedFaces`."""
        if isinstance(record.source, Path):
            # A link is followed only where it isn't known by its own name.
            for path in (os.path.abspath(record.source), os.path.realpath(record.source)):
                for end in _ends(writable(path)):
                    if end in self._row_of:
                        return self._row_of[end]
        key = writable(record.key.partition("/")[2] if in_part else record.key)
        rows = self._rows_by_end.get(key, [])
        if len(rows) > 1:
            first, second = (self._keys[row] for row in rows[:2])
            raise InputError(
                f"{self.path}: '{first}' and '{second}' may both be of the picture {record.key}; "
                "write keys as SET/KEY"
            )
        return rows[0] if rows else -1

    @cached_property
    def _rows_by_end(self) -> dict[str, list[int]]:
        """The rows by each end of their keys, from a slash on."""
        rows: dict[str, list[int]] = {}
        for row, key in enumerate(self._keys):
            for end in _ends(key):
                rows.setdefault(end, []).append(row)
        return rows

    def _claim(self, row: int, faces: str, record: FaceRecord) -> None:
        """Remember that a row belongs to this image; InputError if it was already found to be of
        another."""
        of, other = self._claims.setdefault(row, (faces, record))
        if (of, other.key) == (faces, record.key) or _same_source(other.source, record.source):
            return
        one, two = (of, faces) if of != faces else (f"{of}/{other.key}", f"{of}/{record.key}")
        raise InputError(
            f"{self.path}: key '{self._keys[row]}' may be of {one} or of {two}; write keys as "
            "SET/KEY"
        )


def _keys(pictures: Pictures) -> list[str]:
    return [pictures.faces.records[i].key for i in pictures.indices]


def _ends(path: str) -> Iterator[str]:
    """A path, and what is left of it after each of its slashes: the longest first."""
    yield path
    while "/" in path:
        path = path.partition("/")[2]
        yield path


def _same_source(one: object, other: object) -> bool:
    try:
        return one is other or (
            isinstance(one, Path) and isinstance(other, Path) and one.samefile(other)
        )
    except OSError:
        return False


def _checked(path: Path, space: str, values: np.ndarray, keys: list[str]) -> torch.Tensor:
    fits = values.ndim == 2 and len(values) == len(keys) and values.size
    if not fits or values.dtype.kind not in "fiu":
        raise InputError(
            f"{path}: '{space}' is {values.dtype} {list(values.shape)} and not numbers "
            f"[{len(keys)}, D], one row for each key; mend or remove it"
        )
    with np.errstate(over="ignore"):  # what float32 can't hold is found as infinite
        features = torch.from_numpy(np.require(values, np.float32, ["C", "W"]))
    bad = non_finite_rows(features)
    if len(bad):
        raise InputError(
            f"{path}, {space}: {len(bad):,} of {len(keys):,} rows are NaN or infinite, the first "
            f"of '{keys[bad[0]]}'; make these features again, or remove the rows"
        )
    return features


def _read_npz(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    try:
        # Never unpickled: such a file could run code.
        with np.load(regular(path), allow_pickle=False) as file:
            arrays: dict[str, np.ndarray] = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, OSError) as error:
        raise InputError(
            f"{path}: not an .npz file of plain arrays ({reason_of(error)}); write it with "
            "np.savez(FILE, keys=..., features=...)"
        ) from error
    keys = arrays.pop("keys", None)
    if keys is None or keys.ndim != 1 or keys.dtype.kind != "U":
        kind = "none" if keys is None else f"{keys.dtype} {list(keys.shape)}"
        raise InputError(
            f"{path}: needs an array 'keys' of text [N], and has {kind}; write it with "
            "np.savez(FILE, keys=np.array(keys, dtype=str), features=...)"
        )
    # `ssl-faces embed` writes more about the images under names with `__`.
    return keys.tolist(), {name: x for name, x in arrays.items() if not name.startswith("__")}


def _read_parquet(path: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    import pandas as pd

    try:
        import pyarrow
    except ImportError as error:
        raise InputError(
            f"{path}: needs the package pyarrow, which can't be imported ({error}); "
            "run `pip install pyarrow`"
        ) from error
    try:
        with regular(path).open("rb") as file:
            table = pd.read_parquet(file)
    except (pyarrow.ArrowException, ValueError) as error:
        raise InputError(
            f"{path}: not a whole Parquet file ({reason_of(error)}); write it again"
        ) from error
    if "key" not in table or pd.api.types.infer_dtype(table["key"], skipna=True) not in _TEXT:
        kind = table["key"].dtype if "key" in table else "none"
        raise InputError(f"{path}: needs a column 'key' of text, and has {kind}; add it")
    for name, empty in table.isna().sum().items():
        # Columns with `__` in front are no features: crops have no box, for example.
        if empty and not str(name).startswith("__"):
            raise InputError(f"{path}: column '{name}' has {empty:,} empty cells; fill them")
    keys = table.pop("key").tolist()
    spaces: dict[str, np.ndarray] = {}
    for name, column in table.items():
        if len(column) and isinstance(column.iloc[0], np.ndarray):
            if column.map(len).nunique() > 1:
                raise InputError(
                    f"{path}: the lists of column '{name}' have several lengths; give all the same"
                )
            spaces[str(name)] = np.stack(column.tolist())
    if spaces:
        return keys, spaces
    numbers = table.select_dtypes("number")
    # An index that pandas wrote beside the columns is no feature.
    numbers = numbers[[name for name in numbers if not str(name).startswith("__")]]
    return keys, {COLUMNS: numbers.to_numpy()} if len(numbers.columns) else {}


@opens(lambda name: name.endswith((".npz", ".parquet")))
def _open(name: str, precision: Precision) -> Opened:
    return Opened(EmbeddingTable(name))
