"""`ssl-faces cluster`: group the faces of images and videos by identity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssl_faces.apps.arguments import add_reader, parser, writable
from ssl_faces.apps.gallery import MOST_FACES, thumbnail
from ssl_faces.common.arguments import number
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.common.plurals import plural

if TYPE_CHECKING:
    import torch

    from ssl_faces.apps.faces import Face

ABOUT = """\
Groups of faces that may show one person each, to FILE.csv or FILE.parquet (a row for each face) or
to a page FILE.html. Faces of one track of a video are one unit. Groups are merged while the mean
cosine distance between their identity codes is below --distance, by default the encoder's own,
which was measured on labelled people. Often wrong: do not use it to decide about people. Skipped
files are listed in FILE.skipped.csv.
"""

MOST_UNITS = 8000
"""Faces and tracks that can be grouped at once, in 1 GB of memory."""

MEND = "measure one by linear-probe threshold, or give it"


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces cluster`; bad input and fewer than two faces raise InputError."""
    of = parser("cluster", ABOUT)
    of.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help=".csv, .parquet or .html"
    )
    add_overwrite(of)
    add_reader(of)
    of.add_argument(
        "--distance",
        type=number(0, 2, above=True),
        metavar="D",
        help="cosine distance up to which groups are merged (default: the encoder's)",
    )
    options = of.parse_args(arguments)
    out: Path = options.out
    from ssl_faces.apps.embedding import identification_of, open_reader, read_codes
    from ssl_faces.apps.faces import skipped_beside
    from ssl_faces.apps.grouping import cut, group_tree
    from ssl_faces.apps.tables import check_table

    of_page = out.suffix in (".html", ".htm")
    if not of_page:
        check_table(out)
    for path in (out, skipped_beside(out)):
        check_output(path, options.overwrite, options.sources)
    thumbnails: list[str] = []

    def see(face: Face) -> None:
        if of_page:
            if len(thumbnails) == MOST_FACES:
                raise InputError(
                    f"more than {MOST_FACES:,} faces, too many for a page; give --out FILE.csv, "
                    "fewer pictures, or a lower --fps"
                )
            thumbnails.append(thumbnail(face.pixels))

    encoder, reader = open_reader(options, tracked=True)
    known = identification_of(encoder)
    distance = options.distance or (known.distance if known else None)
    if distance is None:
        raise InputError(f"{options.encoder}: its card has no distance for groups; {MEND}")
    space = known.space if known else "identity"
    faces, codes = read_codes(encoder, reader, [space], see)
    unit, units = _units(faces, codes[space])
    if len(units) < 2:
        raise InputError("one face or track has nothing to be grouped with; give more")
    mean = known.mean if known else codes[space].double().mean(0)
    groups = cut(group_tree(units, mean), distance)[unit]
    # By their number of faces, not of units.
    groups = np.argsort(np.argsort(-np.bincount(groups), kind="stable"))[groups]
    if of_page:
        from ssl_faces.common.files import replace_file

        lead = [
            f"{plural(len(faces), 'face')}; average linkage up to a cosine distance of "
            f"{distance:.3f} by the {space} code of {options.encoder}. A group does not "
            "prove that its faces show one person."
        ]
        replace_file(out, _page(faces, thumbnails, groups, lead).encode())
    else:
        _write_table(out, faces, groups)
    reader.list_skipped(out)
    sizes = np.bincount(groups)
    print(
        f"{out}: {plural(len(faces), 'face')} of {plural(reader.files, 'file')}: "
        f"{plural((sizes > 1).sum(), 'group')}, and {plural((sizes == 1).sum(), 'face')} alone"
    )
    if known is not None:
        print(
            f"distance and mean were chosen on {known.description}; not for deciding about people"
        )
    reader.print_summary(f" (each in {skipped_beside(out)})")


def _units(faces: Sequence[Face], codes: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
    """The unit of each face, int [N], and the mean code of each unit; a unit is a track or an
    image's face."""
    import torch

    number: dict[tuple[str, int], int] = {}
    unit = np.array(
        [
            number.setdefault((face.source if face.of_video else face.key, face.track), len(number))
            for face in faces
        ]
    )
    if len(number) > MOST_UNITS:
        raise InputError(
            f"{len(number):,} faces and tracks are more than {MOST_UNITS:,}; give fewer pictures"
        )
    index = torch.from_numpy(unit)
    sums = torch.zeros(len(number), codes.shape[1], dtype=torch.float64)
    sums.index_add_(0, index, codes.double())
    return unit, sums / torch.bincount(index)[:, None]


def _write_table(out: Path, faces: Sequence[Face], groups: np.ndarray) -> None:
    from ssl_faces.apps.tables import PLACE, place_cells, table_writer

    with table_writer(out, {**PLACE, "group": int}) as write:
        for face, group in zip(faces, groups.tolist(), strict=True):
            write([*place_cells(face), group])


def _page(
    faces: Sequence[Face], thumbnails: Sequence[str], groups: np.ndarray, lead: Sequence[str]
) -> str:
    from ssl_faces.apps.face_page import Section, ShownFace, face_page

    members: list[list[ShownFace]] = [[] for _ in range(int(groups.max()) + 1)]
    for face, image, group in zip(faces, thumbnails, groups.tolist(), strict=True):
        caption = f"{face.time:.1f} s" if face.of_video else ""
        members[group].append(ShownFace(writable(face.key), image, caption))
    sections = [
        Section(f"Group {i}: {len(group):,} faces", group)
        for i, group in enumerate(members)
        if len(group) > 1
    ]
    if alone := [face for group in members if len(group) == 1 for face in group]:
        sections.append(Section(f"Alone: {len(alone):,} faces", alone))
    return face_page("Groups of faces", lead, sections)
