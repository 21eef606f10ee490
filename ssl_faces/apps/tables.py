"""Tables that the commands write row by row, as CSV or Parquet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.apps.arguments import writable
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.files import replacing

if TYPE_CHECKING:
    from ssl_faces.apps.faces import Face

_ROWS = 4096  # of Parquet that are in memory

PLACE: dict[str, type] = {
    **{"key": str, "source": str, "track": int, "frame": int},
    **dict.fromkeys(("time", "left", "top", "right", "bottom", "score"), float),
}
"""Columns that say which face a row is of; images have no track, frame and time, and faces that
were taken whole have no box."""

WriteRow = Callable[[Sequence[Any]], None]


def place_cells(face: Face) -> list[Any]:
    """The cells of `PLACE`."""
    place = (face.track, face.frame, face.time) if face.of_video else (None, None, None)
    box = face.box or (None,) * 4
    return [writable(face.key), writable(face.source), *place, *box, round(face.score, 4)]


@contextmanager
def table_writer(path: Path, columns: Mapping[str, type]) -> Iterator[WriteRow]:
    """A function that adds a row, with a cell for each column, to a table that appears whole.

    Args:
        path: .csv or .parquet.
        columns: str, int, float or bytes by name; any cell may be None, which is empty in CSV.
    """
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            text = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
            with temporary.open("w", **text) as stream:  # type: ignore[call-overload]
                writer = CsvWriter(stream)
                writer.writerow(columns)
                yield lambda row: writer.writerow("" if cell is None else cell for cell in row)
        else:
            with _parquet_writer(temporary, columns) as write:
                yield write


@contextmanager
def _parquet_writer(path: Path, columns: Mapping[str, type]) -> Iterator[WriteRow]:
    import pyarrow
    from pyarrow import parquet

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    kinds[bytes] = pyarrow.binary()
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    rows: list[Sequence[Any]] = []

    def flush() -> None:
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        file.write_table(pyarrow.Table.from_pylist(named, schema))
        rows.clear()

    def write(row: Sequence[Any]) -> None:
        rows.append(row)
        if len(rows) == _ROWS:
            flush()

    with parquet.ParquetWriter(path, schema) as file:
        yield write
        flush()
