"""`ssl-faces render`: write a set or a sheet of rendered faces."""

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


def run(argv: Sequence[str]) -> None:
    """Run `ssl-faces render`; bad input raises InputError."""
    parser = Parser(
        prog="ssl-faces render",
        description="Write rendered faces as images/, labels.csv, train.csv and test.csv, or a "
        "sheet of them to look at. The same command resumes.",
    )
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help="write a set to this folder")
    add("--sheet", type=Path, metavar="FILE", help="write one image of all faces")
    add_overwrite(parser, "--sheet")
    add("--count", type=whole(1), help="pictures; default: 4096, for a sheet 64")
    add("--people", type=whole(1), help="default: a sixteenth of the pictures, for a sheet all")
    add("--size", type=SIDE, help="side of the images; default: 64, for a sheet 96")
    add("--seed", type=SEED, default=0, help="another seed gives other people")
    add("--nuisances", default="mild", help=", ".join(get_args(Nuisances)))
    kinds = f"also write these of each face: {', '.join(COUNTERPARTS)}"
    add("--counterparts", default="", metavar="KIND,…", help=kinds)
    options = parser.parse_args(argv)
    sheet = options.sheet
    if (options.out is None) == (sheet is None):
        raise InputError("render: give --out DIR for a set, or --sheet FILE for a picture of faces")
    count, size = (4096, 64) if sheet is None else (64, 96)
    count = options.count or count
    if sheet is not None:
        check_output(sheet.expanduser(), options.overwrite, option="--sheet")
        if count > 4096:
            raise InputError(f"--count: {count} faces are too many for a sheet; give at most 4096")
    people = options.people or (max(1, count // 16) if sheet is None else count)
    counterparts = tuple(filter(None, options.counterparts.split(",")))
    faces = RenderedFaces(
        *(count, people, "all", options.size or size, options.seed),
        nuisances=options.nuisances,
        counterparts=counterparts,
    )
    if sheet is not None:
        write_sheet(sheet, faces)
        print(f"written: {sheet}")
        return
    written = write_set(options.out, faces, bar=True)
    print(f"{options.out}: {len(faces):,} faces, {written:,} pictures written now")
