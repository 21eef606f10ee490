"""`ssl-faces cluster`: group the faces of images and videos by identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ssl_faces.apps.arguments import add_out, add_reader, check_out, parser, writable
from ssl_faces.apps.face_page import Section, ShownFace, Thumbnails, face_page
from ssl_faces.common.arguments import number
from ssl_faces.common.errors import InputError
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


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces cluster`; bad input and fewer than two faces raise InputError."""
    of = parser("cluster", ABOUT)
    add_out(of, ".csv", ".parquet", ".html")
    add_reader(of)
    of.add_argument(
        "--distance",
        type=number(0, 2, above=True),
        metavar="D",
        help="cosine distance up to which groups are merged (default: the encoder's)",
    )
    options = of.parse_args(arguments)
    check_out(options)
    from ssl_faces.apps.embedding import identification_of, open_reader, read_codes
    from ssl_faces.apps.grouping import cut, group_tree
    from ssl_faces.apps.tables import PLACE, place_cells, table_writer
    from ssl_faces.common.files import replace_file

    out = options.out
    of_page = out.suffix == ".html"
    thumbnails = Thumbnails()
    encoder, reader = open_reader(options, tracked=True)
    known = identification_of(encoder)
    distance = options.distance or (known.distance if known else None)
    if distance is None:
        raise InputError(
            f"{options.encoder}: its card has no distance for groups; measure one by linear-probe "
            "threshold, or give it"
        )
    space = known.space if known else "identity"
    see = thumbnails.add if of_page else lambda face: None
    faces, codes = read_codes(encoder, reader, [space], see)
    unit, units = _units(faces, codes[space])
    if len(units) < 2:
        raise InputError("one face or track has nothing to be grouped with; give more")
    mean = known.mean if known else codes[space].double().mean(0)
    groups = cut(group_tree(units, mean), distance)[unit]
    # By their number of faces, not of units.
    groups = np.argsort(np.argsort(-np.bincount(groups), kind="stable"))[groups]
    if of_page:
        lead = (
            f"{plural(len(faces), 'face')}; average linkage up to a cosine distance of "
            f"{distance:.3f} by the {space} code of {options.encoder}. A group does not prove that "
            "its faces show one person."
        )
        sections = _sections(faces, thumbnails, groups)
        replace_file(out, face_page("Groups of faces", [lead], sections))
    else:
        with table_writer(out, {**PLACE, "group": int}) as write:
            for face, group in zip(faces, groups.tolist(), strict=True):
                write([*place_cells(face), group])
    sizes = np.bincount(groups)
    lines = [
        f"{out}: {reader.counted(len(faces))}: {plural((sizes > 1).sum(), 'group')}, and "
        f"{plural((sizes == 1).sum(), 'face')} alone"
    ]
    if known is not None:
        lines.append(
            f"distance and mean were chosen on {known.description}; not for deciding about people"
        )
    print(reader.report(*lines, beside=out))


def _units(faces: Sequence[Face], codes: torch.Tensor) -> tuple[np.ndarray, torch.Tensor]:
    """The unit of each face, int [N], and the mean code of each unit; a unit is a track or an
    image's face."""
    import torch

    keys = [(face.source if face.of_video else face.key, face.track) for face in faces]
    number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    if len(number) > MOST_UNITS:
        raise InputError(
            f"{len(number):,} faces and tracks are more than {MOST_UNITS:,}; give fewer pictures"
        )
    unit = torch.tensor([number[key] for key in keys])
    sums = torch.zeros(len(number), codes.shape[1], dtype=torch.float64)
    sums.index_add_(0, unit, codes.double())
    return unit.numpy(), sums / torch.bincount(unit)[:, None]


def _sections(
    faces: Sequence[Face], thumbnails: Sequence[str], groups: np.ndarray
) -> list[Section]:
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
    return sections
