"""`ssl-faces neutralise`, `frontalise` and `swap-identity`: apply a method's edit to faces."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.apps.arguments import add_detection, add_method, add_sources, parser
from ssl_faces.common.arguments import existing
from ssl_faces.common.csv_files import csv_bytes
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output, refuse_input

if TYPE_CHECKING:
    import argparse

    import numpy as np

TABLE, SHEET, PICTURES = "faces.csv", "sheet.png", "pictures"

_LONGEST = 200
"""Bytes of a file's name. The limit is 255, and temporary names are longer."""

_WRITES = f"""\
Writes a PNG of each face to DIR/pictures, at the size that the method renders, and to DIR
{SHEET} (input and output of the first 64 faces) and {TABLE}: each face with its box, and each
skipped file with the reason.
"""


def _run(command: str, edit: str, about: str, arguments: Sequence[str]) -> None:
    """Run one of the commands; bad input and no detected face raise InputError."""
    from_two = command == "swap-identity"
    of = parser(command, f"{about}\n\n{_WRITES}")
    add_sources(of)
    if from_two:
        help_ = "its largest face is the new identity"
        of.add_argument("--person", required=True, type=existing, metavar="PICTURE", help=help_)
    add_method(of)
    of.add_argument("--out", required=True, type=Path, metavar="DIR", help="for the pictures")
    add_overwrite(of)
    add_detection(of)
    options = of.parse_args(arguments)
    person = options.person if from_two else None
    check_folder(options.out, options.overwrite, [*options.sources, *([person] if person else [])])
    write_edits(edit, options.sources, person, options)


neutralise = partial(
    _run, "neutralise", "neutral face", "Remove the expression; identity and place stay."
)
frontalise = partial(_run, "frontalise", "frontal face", "Turn the faces to the camera.")
swap_identity = partial(
    _run, "swap-identity", "identity swap", "Keep expression and pose, change the person."
)


def check_folder(out: Path, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Check the folder that `write_edits` writes to.

    Raises:
        InputError: it is a file, holds an input, or holds results that `overwrite` does not allow
            to replace.
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
    """Path of a face's image below the output folder; names too long for a file are cut."""
    parts = []
    for part in f"{key}.png".split("/"):
        data = os.fsencode(part)
        if len(data) > _LONGEST:
            digest = hashlib.sha256(data).hexdigest()[:16]
            part = f"{data[:60].decode(errors='ignore')}-{digest}.png"
        parts.append(part)
    return "/".join((PICTURES, *parts))


def _earlier_pictures(out: Path) -> set[str]:
    """The images in the table of an earlier command."""
    from ssl_faces.data.tables import read_table

    try:
        names = {row["picture"] for _, row in read_table(out / TABLE, ["picture"])}
    except InputError:
        return set()  # there is no table, or one of another kind
    root = _real(out / PICTURES)
    return {name for name in names if name and _real(out / name).is_relative_to(root)}


def write_edits(
    edit: str, sources: Sequence[Path], person: Path | None, options: argparse.Namespace
) -> None:
    """Edit all faces of the sources; write images, sheet and table to a folder.

    They replace those of an earlier command there.

    Args:
        edit: name of the method's edit.
        person: for edits of two faces, an image of the target identity.
        options: `method`, `detect`, `detector`, `out` and `seed` of the command line.

    Raises:
        InputError: bad input, no detected face, or `out` can't be written.
    """
    from ssl_faces.apps.editing import BATCH, MOST, apply_edit, open_method, sheet
    from ssl_faces.apps.embedding import batches
    from ssl_faces.apps.face_finder import FaceFinder
    from ssl_faces.apps.faces import FaceReader, first_face
    from ssl_faces.common.files import replace_file
    from ssl_faces.data.pictures import png
    from ssl_faces.methods.method import FRONTAL, NEUTRAL

    out = options.out
    method = open_method(options.method, edit)
    finder = FaceFinder(method.picture_size, options.detect, options.detector)
    people = None if person is None else [first_face(person, finder).pixels]
    reader = FaceReader(sources, finder, out=out)
    sides = ("left", "top", "right", "bottom")
    table: list[tuple[object, ...]] = [("source", "face", "picture", *sides, "score", "reason")]
    shown: list[list[np.ndarray]] = []
    count = 0
    earlier = _earlier_pictures(out)
    for faces in batches(reader, BATCH):
        # A folder with a table has all its images.
        (out / TABLE).unlink(missing_ok=True)
        results = apply_edit(method, edit, [face.pixels for face in faces], people, options.seed)
        for face, result in zip(faces, results, strict=True):
            name = picture_name(face.key)
            earlier.discard(name)
            replace_file(out / name, png(result), durable=False)
            table.append((face.source, face.key, name, *(face.box or ("",) * 4), face.score, ""))
            if len(shown) < MOST:
                shown.append([face.pixels, *(people or ()), result])
        count += len(faces)
    if not count:
        raise reader.nothing()
    table += [(skipped.key, *("",) * 7, skipped.reason) for skipped in reader.skipped]
    titles = ["source", *(["person"] if people else []), edit]
    replace_file(out / SHEET, png(sheet(titles, shown)))
    for name in earlier:
        (out / name).unlink(missing_ok=True)
    replace_file(out / TABLE, csv_bytes(table))
    line = f"{out}: {edit} of {reader.counted(count)}; sheet: {out / SHEET}"
    print(reader.report(line))
    if person is None and method.edits()[NEUTRAL] == method.edits().get(FRONTAL):
        print(f"{method.name} makes one image that is both neutral and frontal")


def _real(path: Path) -> Path:
    # `Path.resolve` raises RuntimeError for a link to itself.
    return Path(os.path.realpath(path))
