"""`ssl-faces embed`: write the codes of faces in images and videos to a table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssl_faces.apps.arguments import add_out, add_reader, check_out, parser, writable
from ssl_faces.common.shards import add_shards, part_of

if TYPE_CHECKING:
    from ssl_faces.apps.faces import Face

SIDES = ("left", "top", "right", "bottom")
"""Of a face's box."""

ABOUT = """\
Codes of all faces in pictures, folders and videos, to FILE.npz or FILE.parquet: `keys` (in Parquet
`key`), an array [N, D] for each feature space, and source, box, score, time and frame, named with
`__` in front. A key is SRC's name and the path below it; faces of a picture other than the largest
get #1, #2, … `linear-probe run --encoder FILE.npz` scores the table on face sets, and with
--train-csv and --test-csv on your own labels of these pictures. Skipped files are listed in
FILE.skipped.csv, with the reason.
"""


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces embed`; bad input and no detected face raise InputError."""
    of = parser("embed", ABOUT)
    add_out(of, ".npz", ".parquet")
    add_reader(of)
    of.add_argument("--spaces", metavar="S,S", help="feature spaces (default: all)")
    of.add_argument("--largest", action="store_true", help="only the largest face of each picture")
    add_shards(of)
    options = of.parse_args(arguments)
    check_out(options)
    # Imported late, since they import torch.
    from ssl_faces.apps.embedding import check_spaces, open_reader, read_codes
    from ssl_faces.apps.parts import parts_of, run_parts, write_receipt
    from ssl_faces.common.files import replace_file
    from ssl_faces.data.joining import join

    out: Path = options.out
    spaces = options.spaces.split(",") if options.spaces else None
    encoder, reader = open_reader(options, largest=options.largest, shard=options.shard)
    check_spaces(encoder, spaces)
    run_parts(options, ["ssl-faces", "embed", *arguments], reader, out)
    if options.shards:
        with parts_of(out, options.shards, reader) as (parts, receipts):
            join(parts, out)
        count = sum(receipt["faces"] for receipt in receipts)
        dims: dict[str, int] = next(r["dims"] for r in receipts if r["faces"])
    else:
        table = out if options.shard is None else part_of(out, options.shard)
        faces, tensors = read_codes(encoder, reader, spaces, may_be_empty=options.shard is not None)
        codes = {space: values.numpy() for space, values in tensors.items()}
        replace_file(table, (_npz if out.suffix == ".npz" else _parquet)(faces, codes))
        count, dims = len(faces), {space: values.shape[1] for space, values in codes.items()}
        if options.shard is not None:
            write_receipt(table, reader, count, dims=dims)
            print(f"{table}: {reader.counted(count)}")
            return
    sizes = ", ".join(f"{space} {dim}" for space, dim in dims.items())
    print(reader.report(f"{out}: {reader.counted(count)}; {sizes}", beside=out))


def columns(faces: Sequence[Face]) -> dict[str, np.ndarray]:
    """What is known of each face beside its key and codes, [N] each; missing boxes are NaN."""
    none = (np.nan,) * 4
    boxes = np.array([face.box or none for face in faces], np.float32).reshape(-1, 4)
    return {
        **dict(zip(SIDES, boxes.T, strict=True)),
        "source": np.array([writable(face.source) for face in faces], dtype=np.str_),
        "score": np.array([face.score for face in faces], np.float32),
        "time": np.array([face.time for face in faces], np.float32),
        "frame": np.array([face.frame for face in faces], np.int64),
    }


def _npz(faces: Sequence[Face], codes: dict[str, np.ndarray]) -> bytes:
    data = io.BytesIO()
    keys = np.array([writable(face.key) for face in faces], dtype=np.str_)
    known = columns(faces)
    known["box"] = np.stack([known.pop(side) for side in SIDES], 1)
    more = {f"__{name}": values for name, values in known.items()}
    np.savez(data, **({"keys": keys} | codes | more))
    return data.getvalue()


def _parquet(faces: Sequence[Face], codes: dict[str, np.ndarray]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    keys = [writable(face.key) for face in faces]
    table: dict[str, object] = {"key": pyarrow.array(keys, pyarrow.string())}
    for space, values in codes.items():
        flat = pyarrow.array(values.ravel())
        table[space] = pyarrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    # The box as numbers, not as a list: `linear-probe` takes lists for feature spaces.
    table |= {f"__{name}": pyarrow.array(column) for name, column in columns(faces).items()}
    data = io.BytesIO()
    parquet.write_table(pyarrow.table(table), data)
    return data.getvalue()
