"""`ssl-faces neutralise`, `frontalise` and `swap-identity`: faces as a method makes them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.apps.arguments import (
    add_detection,
    add_method,
    add_sources,
    parser,
)
from ssl_faces.common.arguments import Parser
from ssl_faces.common.csv_files import CsvWriter
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output, refuse_input
from ssl_faces.data.tables import read_table

if TYPE_CHECKING:
    import numpy as np

    from ssl_faces.apps.faces import Face, FaceReader
    from ssl_faces.methods.method import Method

TABLE, SHEET, PICTURES = "faces.csv", "sheet.png", "pictures"

_LONGEST = 200
"""Bytes of a file's name, of the 255 that there may be: a temporary one is longer."""

_WRITES = f"""\
DIR/pictures gets a PNG for each face, at the size that the method renders, DIR {SHEET} (what
went in and what came out, the first 64) and {TABLE}: each face with its box, and each file that
gave none, and why.
"""


def neutralise(arguments: Sequence[str]) -> None:
    """Run `ssl-faces neutralise` with these arguments.

    Raises:
        InputError: bad input, or no face in all of it.
    """
    _of_one("neutralise", "neutral face", "The same faces without expression.", arguments)


def frontalise(arguments: Sequence[str]) -> None:
    """Run `ssl-faces frontalise` with these arguments.

    Raises:
        InputError: bad input, or no face in all of it.
    """
    _of_one("frontalise", "frontal face", "The same faces, facing the camera.", arguments)


def swap_identity(arguments: Sequence[str]) -> None:
    """Run `ssl-faces swap-identity` with these arguments.

    Raises:
        InputError: bad input, or no face in all of it.
    """
    about = "The same expression and pose, as another person."
    of = parser("swap-identity", f"{about}\n\n{_WRITES}")
    add_sources(of)
    of.add_argument(
        "--person", required=True, type=Path, metavar="PICTURE", help="whose largest face"
    )
    _add_rest(of)
    given = of.parse_args(arguments)
    check_folder(given.out, given.overwrite, [*given.sources, given.person])
    from ssl_faces.apps.editing import SWAP, open_method
    from ssl_faces.apps.faces import FaceFinder, FaceReader, first_face

    method = open_method(given.method, SWAP)
    finder = FaceFinder(method.picture_size, given.detect, given.detector)
    person = first_face(given.person, finder)
    reader = FaceReader(given.sources, finder, out=given.out)
    write_edits(method, SWAP, reader, given.out, person=person, seed=given.seed)


def _of_one(verb: str, edit: str, about: str, arguments: Sequence[str]) -> None:
    of = parser(verb, f"{about}\n\n{_WRITES}")
    add_sources(of)
    _add_rest(of)
    given = of.parse_args(arguments)
    check_folder(given.out, given.overwrite, given.sources)
    from ssl_faces.apps.editing import FRONTAL, NEUTRAL, open_method
    from ssl_faces.apps.faces import FaceFinder, FaceReader

    method = open_method(given.method, edit)
    finder = FaceFinder(method.picture_size, given.detect, given.detector)
    write_edits(
        method, edit, FaceReader(given.sources, finder, out=given.out), given.out, seed=given.seed
    )
    if method.edits()[NEUTRAL] == method.edits().get(FRONTAL):
        print(f"{method.name} has one picture for a neutral face and for a frontal one: this")


def _add_rest(of: Parser) -> None:
    add_method(of)
    of.add_argument("--out", required=True, type=Path, metavar="DIR", help="for the pictures")
    add_overwrite(of)
    add_detection(of)


def check_folder(out: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Check the folder that `write_edits` writes to.

    Raises:
        InputError: it is a file or holds an input, or it was written to before and `overwrite` is
            False.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: a file; give a folder")
    for place in inputs:
        refuse_input(out, [place])
        if _real(place.expanduser()).is_relative_to(_real(out / PICTURES)):
            raise InputError(f"--out {out}: holds the input {place}; give another folder")
    for name in (TABLE, SHEET):
        check_output(out / name, overwrite, inputs)


def picture_name(key: str) -> str:
    """Where a face's picture goes, below the folder of all: names too long for a file are cut."""
    parts = []
    for part in f"{key}.png".split("/"):
        data = os.fsencode(part)
        if len(data) > _LONGEST:
            digest = hashlib.sha256(data).hexdigest()[:16]
            part = f"{data[:60].decode(errors='ignore')}-{digest}.png"
        parts.append(part)
    return "/".join((PICTURES, *parts))


def _written_before(out: Path) -> set[str]:
    """The pictures that the table of an earlier command names."""
    try:
        names = {row["picture"] for _, row in read_table(out / TABLE, ["picture"])}
    except InputError:
        return set()  # there is none, or it is of another kind
    root = _real(out / PICTURES)
    return {name for name in names if name and _real(out / name).is_relative_to(root)}


def write_edits(
    method: Method,
    edit: str,
    reader: FaceReader,
    out: Path,
    *,
    person: Face | None = None,
    seed: int = 0,
) -> None:
    """Edit all faces of a reader, and write pictures, sheet and table to `out`.

    They replace those of an earlier command there.

    Args:
        person: of the edits of two, whom the faces are to become.

    Raises:
        InputError: no face in all of it, or `out` can't be written.
    """
    from ssl_faces.apps.editing import BATCH, edited
    from ssl_faces.apps.embedding import batches
    from ssl_faces.apps.sheets import MOST, png, sheet
    from ssl_faces.common.files import replace_file

    text = io.StringIO()
    table = CsvWriter(text)
    table.writerow(
        ("source", "face", "picture", "left", "top", "right", "bottom", "score", "reason")
    )
    shown: list[list[np.ndarray]] = []
    people = None if person is None else [person.pixels]
    count = 0
    before = _written_before(out)
    for faces in batches(reader, BATCH):
        # A folder with a table has all its pictures.
        (out / TABLE).unlink(missing_ok=True)
        made = edited(method, edit, [face.pixels for face in faces], people, seed=seed)
        for face, picture in zip(faces, made, strict=True):
            name = picture_name(face.key)
            before.discard(name)
            replace_file(out / name, png(picture), durable=False)
            row = (face.source, face.key, name, *(face.box or ("",) * 4), face.score, "")
            table.writerow(row)
            if len(shown) < MOST:
                shown.append([face.pixels, *(people or ()), picture])
        count += len(faces)
    if not count:
        raise reader.nothing()
    for one in reader.skipped:
        table.writerow((one.key, *("",) * 7, one.reason))
    titles = ["source", *(["person"] if people else []), edit]
    replace_file(out / SHEET, png(sheet(titles, shown)))
    for name in before:
        (out / name).unlink(missing_ok=True)
    replace_file(out / TABLE, text.getvalue().encode(errors="backslashreplace"))
    print(f"{out}: {edit} of {count:,} faces of {reader.files:,} files; to look at: {out / SHEET}")
    if said := reader.summary():
        print(said)


def _real(path: Path) -> Path:
    # `Path.resolve` raises RuntimeError for a link to itself.
    return Path(os.path.realpath(path))
