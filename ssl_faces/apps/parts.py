"""Tables that shards of a command write, and one table of them all."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_faces.common.errors import InputError
from ssl_faces.common.files import regular, replace_file
from ssl_faces.common.shards import Shard, part_of, run_shards

if TYPE_CHECKING:
    from ssl_faces.apps.faces import FaceReader

Receipt = dict[str, Any]


def run_parts(
    options: argparse.Namespace, command: Sequence[str], reader: FaceReader, out: Path
) -> None:
    """Run the shards of a command that writes a table, if `--shards` is given; see `run_shards`.

    Raises:
        InputError: as of `run_shards`; or the keys of faces depend on more than one file.
    """
    if reader.ambiguous and (options.shards or options.shard):
        raise InputError(
            "--shards: two files have one name, or a name has '#', so that keys of faces could be "
            "the same; rename them, or leave --shards out"
        )
    run_shards(options, command, out, part_of)


def write_receipt(part: Path, reader: FaceReader, faces: int, **more: Any) -> None:
    """Note beside a part what was read for it."""
    about = {"content": reader.content, "files": reader.files, "faces": faces}
    text = json.dumps({**about, "reader": reader.state(), **more})
    replace_file(_receipt_of(part), text.encode())


@contextmanager
def parts_of(
    out: Path, count: int, reader: FaceReader
) -> Iterator[tuple[list[Path], list[Receipt]]]:
    """The parts of a table that have faces, and the receipts of all. `reader` counts what was read
    for them. At the end the parts are deleted.

    Raises:
        InputError: a part is missing, or of other files; no part has a face.
    """
    parts = [part_of(out, Shard(number, count)) for number in range(1, count + 1)]
    receipts = [_read(part) for part in parts]
    files = sum(receipt["files"] for receipt in receipts)
    if files != reader.files or any(r["content"] != reader.content for r in receipts):
        raise InputError(
            f"{out}: its {count:,} shards have read other files, such as ones that came since; run "
            "the same command again"
        )
    for receipt in receipts:
        reader.add(receipt["reader"])
    full = [part for part, receipt in zip(parts, receipts, strict=True) if receipt["faces"]]
    if not full:
        raise reader.nothing()
    yield full, receipts
    for part in parts:
        part.unlink(missing_ok=True)


def _receipt_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read(part: Path) -> Receipt:
    try:
        receipt: Receipt = json.loads(regular(_receipt_of(part)).read_bytes())
        regular(part)
        return receipt
    except (OSError, ValueError) as error:
        raise InputError(f"{part}: missing or broken ({error}); run the command again") from error
