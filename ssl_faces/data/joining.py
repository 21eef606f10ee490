"""Joins tables of the same columns: CSV, Parquet and arrays of NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_faces.common.files import replacing


def join(parts: Sequence[Path], out: Path, header: bytes = b"") -> None:
    """Write one table of the rows of all, in their order.

    Args:
        header: first line of each table in CSV.
    """
    kinds: dict[str, Callable[[Sequence[Path], Path], None]] = {
        ".npz": _join_npz,
        ".parquet": _join_parquet,
    }
    with replacing(out) as path:
        if out.suffix in kinds:
            kinds[out.suffix](parts, path)
            return
        with path.open("wb") as file:
            file.write(header)
            for part in parts:
                file.write(part.read_bytes()[len(header) :])


def _join_npz(parts: Sequence[Path], path: Path) -> None:
    opened = [np.load(part) for part in parts]
    names = opened[0].files
    columns: dict[str, Any] = {n: np.concatenate([one[n] for one in opened]) for n in names}
    with path.open("wb") as file:
        np.savez(file, **columns)


def _join_parquet(parts: Sequence[Path], path: Path) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(path, parquet.read_schema(parts[0])) as writer:
        for part in parts:
            for batch in parquet.ParquetFile(part).iter_batches():
                writer.write_batch(batch)
