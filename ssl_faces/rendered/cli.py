"""`ssl-faces render`: write rendered faces to a folder, or look at some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ssl_faces.common.arguments import SEED, SIDE, Parser, whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.rendered.face_set import RenderedFaces
from ssl_faces.rendered.factors import COUNTERPARTS
from ssl_faces.rendered.sampling import Nuisances
from ssl_faces.rendered.writing import write_set, write_sheet

_SHEET = {"count": 64, "size": 96}
_SET = {"count": 4096, "size": 64}


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces render` with these arguments.

    Raises:
        InputError: bad input.
    """
    parser = Parser(
        prog="ssl-faces render",
        description="Write rendered faces as images/, labels.csv, train.csv and test.csv, or a "
        "sheet of them to look at. A run that was stopped goes on where it was.",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a set here")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write one picture of faces")
    add_overwrite(parser, "--sheet")
    parser.add_argument("--count", type=whole(1), help="pictures; 4096, of a sheet 64")
    parser.add_argument(
        "--people", type=whole(1), help="a sixteenth of the pictures; of a sheet, all"
    )
    parser.add_argument("--size", type=SIDE, help="side of the pictures; 64, of a sheet 96")
    parser.add_argument("--seed", type=SEED, default=0, help="another one gives other people")
    parser.add_argument("--nuisances", default="mild", help=f"{', '.join(get_args(Nuisances))}")
    parser.add_argument(
        "--counterparts",
        default="",
        metavar="KIND,…",
        help=f"also write these of each face: {', '.join(COUNTERPARTS)}",
    )
    arguments = parser.parse_args(argv)
    if (arguments.out is None) == (arguments.sheet is None):
        raise InputError("render: give --out DIR for a set, or --sheet FILE for a picture of faces")
    if arguments.sheet is not None:
        check_output(arguments.sheet.expanduser(), arguments.overwrite, option="--sheet")
    defaults = _SET if arguments.out is not None else _SHEET
    count = defaults["count"] if arguments.count is None else arguments.count
    size = defaults["size"] if arguments.size is None else arguments.size
    people = arguments.people
    if people is None:
        people = max(1, count // 16) if arguments.out is not None else count
    if arguments.sheet is not None and count > 4096:
        raise InputError(f"--count: {count} faces are too many for a sheet; give at most 4096")
    faces = RenderedFaces(
        count,
        people,
        "all",
        size,
        arguments.seed,
        arguments.nuisances,
        tuple(filter(None, arguments.counterparts.split(","))),
    )
    if arguments.sheet is not None:
        write_sheet(arguments.sheet, faces)
        print(f"written: {arguments.sheet}")
        return
    written = write_set(arguments.out, faces, bar=True)
    print(f"{arguments.out}: {len(faces):,} faces, {written:,} pictures written now")
