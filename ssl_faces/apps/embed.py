"""`ssl-faces embed`: codes of the faces of pictures and videos, to a table."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssl_faces.apps.arguments import (
    add_detection,
    add_encoder,
    add_frames,
    add_sources,
    parser,
    writable,
)
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output

ABOUT = """\
Codes of all faces of pictures, folders and videos, to FILE.npz or FILE.parquet: `keys` (in Parquet
`key`), an array [N, D] for each feature space, and beside them, named with `__` in front, source,
box, score, time and frame. A key is SRC's name and the path below it; faces but the largest of a
picture have #1, #2, … behind it. `linear-probe run --encoder FILE.npz` scores the table on face
sets, and with --train-csv and --test-csv on your own labels of these pictures. Skipped files are
listed in FILE.skipped.csv, with the reason.
"""

if TYPE_CHECKING:
    from ssl_faces.apps.faces import Face

ENDINGS = (".npz", ".parquet")


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces embed` with these arguments.

    Raises:
        InputError: bad input, or no face in all of it.
    """
    of = parser("embed", ABOUT)
    add_sources(of, "pictures, videos, or folders of them")
    of.add_argument("--out", required=True, type=Path, metavar="FILE", help=".npz or .parquet")
    add_overwrite(of)
    add_encoder(of)
    of.add_argument("--spaces", metavar="S,S", help="feature spaces (default: all)")
    of.add_argument("--largest", action="store_true", help="the largest face of each picture only")
    add_frames(of)
    add_detection(of)
    given = of.parse_args(arguments)
    if given.out.suffix not in ENDINGS:
        raise InputError(f"--out {given.out}: give a name that ends in .npz or .parquet")
    if given.out.suffix == ".parquet":
        _need_pyarrow(given.out)
    listed = given.out.with_name(f"{given.out.name}.skipped.csv")
    for path in (given.out, listed):
        check_output(path, given.overwrite, given.sources)
    # Late: it brings torch.
    from ssl_faces.apps.embedding import codes_of
    from ssl_faces.apps.faces import FaceFinder, FaceReader
    from ssl_faces.common.files import replace_file
    from ssl_faces.data.faces import write_skipped
    from ssl_faces.encoders.encoder import load_encoder

    encoder = load_encoder(given.encoder)
    spaces = given.spaces.split(",") if given.spaces else list(encoder.feature_dims)
    finder = FaceFinder(encoder.input_size, given.detect, given.detector)
    reader = FaceReader(given.sources, finder, largest=given.largest, fps=given.fps, out=given.out)
    faces: list[Face] = []

    def crops() -> Iterator[np.ndarray]:
        for face in reader:
            faces.append(face.without_pixels())
            yield face.pixels

    parts = list(codes_of(encoder, crops(), spaces))
    if not parts:
        raise reader.nothing()
    codes = {s: np.concatenate([part[s].numpy() for part in parts]) for s in spaces}
    write = _npz if given.out.suffix == ".npz" else _parquet
    replace_file(given.out, write(faces, codes))
    if reader.skipped:
        write_skipped(listed, [("", one) for one in reader.skipped])
    else:
        listed.unlink(missing_ok=True)
    told = ", ".join(f"{space} {values.shape[1]}" for space, values in codes.items())
    print(f"{given.out}: {len(faces):,} faces of {reader.files:,} files; {told}")
    if said := reader.summary():
        print(said + (f" (each in {listed})" if reader.skipped else ""))


def _columns(faces: Sequence[Face]) -> dict[str, np.ndarray]:
    """What is known of each face beside its codes; no box is nan."""
    none = (np.nan,) * 4
    return {
        "source": np.array([writable(face.source) for face in faces], dtype=np.str_),
        "box": np.array([face.box or none for face in faces], np.float32),
        "score": np.array([face.score for face in faces], np.float32),
        "time": np.array([face.time for face in faces], np.float32),
        "frame": np.array([face.frame for face in faces], np.int64),
    }


def _keys(faces: Sequence[Face]) -> list[str]:
    return [writable(face.key) for face in faces]


def _npz(faces: Sequence[Face], codes: dict[str, np.ndarray]) -> bytes:
    data = io.BytesIO()
    beside = {f"__{name}": values for name, values in _columns(faces).items()}
    arrays: dict[str, np.ndarray] = {"keys": np.array(_keys(faces), dtype=np.str_)}
    np.savez(data, **(arrays | codes | beside))  # type: ignore[arg-type]
    return data.getvalue()


def _parquet(faces: Sequence[Face], codes: dict[str, np.ndarray]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    columns: dict[str, object] = {"key": pyarrow.array(_keys(faces), pyarrow.string())}
    for space, values in codes.items():
        flat = pyarrow.array(values.ravel())
        columns[space] = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    beside = _columns(faces)
    box = beside.pop("box")
    # Numbers, not lists: lists are feature spaces to `linear-probe`.
    for i, side in enumerate(("left", "top", "right", "bottom")):
        columns[f"__{side}"] = pyarrow.array(box[:, i])
    for name, column in beside.items():
        columns[f"__{name}"] = pyarrow.array(column)
    data = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), data)
    return data.getvalue()


def _need_pyarrow(out: Path) -> None:
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise InputError(f"--out {out}: Parquet needs pyarrow; pip install pyarrow, or give .npz")
