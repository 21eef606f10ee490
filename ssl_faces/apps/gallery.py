"""`ssl-faces gallery`: a page with each face's nearest neighbours by expression and identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssl_faces.apps.arguments import add_out, add_reader, check_out, parser, writable
from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError

if TYPE_CHECKING:
    import torch

    from ssl_faces.encoders.encoder import FaceEncoder

ABOUT = """\
A page that shows each face with its nearest neighbours by expression code and by identity code. It
is one file that holds its pictures and needs no network. Frames of one video are not each other's
neighbours.
"""

FEWEST_CENTRED = 10
"""With fewer faces their mean is not subtracted: the codes of two would be opposite, whoever they
show."""
_ROWS = 1024  # faces whose similarities to all others are computed at once


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces gallery`; bad input and fewer than two faces raise InputError."""
    of = parser("gallery", ABOUT)
    add_out(of, ".html")
    add_reader(of)
    of.add_argument("--spaces", default="expression,identity", metavar="S,S")
    of.add_argument(
        "--nearest", type=whole(1, 50), default=8, metavar="K", help="of each (default: 8)"
    )
    options = of.parse_args(arguments)
    check_out(options)
    from ssl_faces.apps.embedding import open_reader, read_codes
    from ssl_faces.apps.face_page import Thumbnails
    from ssl_faces.common.files import replace_file
    from ssl_faces.common.page_style import json_in_script, rendered

    thumbnails = Thumbnails()
    encoder, reader = open_reader(options)
    spaces = [space for space in options.spaces.split(",") if space]
    faces, codes = read_codes(encoder, reader, spaces, thumbnails.add)
    if len(faces) < 2:
        raise InputError("one face has no neighbours; give more")
    films = [face.source if face.of_video else None for face in faces]
    neighbours = {
        space: nearest(values, options.nearest, films, _centre(encoder, space, values))
        for space, values in codes.items()
    }
    names = [writable(face.key) for face in faces]
    page = rendered(
        "ssl_faces.apps",
        "gallery.html",
        data=json_in_script({"names": names, "faces": thumbnails, "spaces": neighbours}),
        count=len(faces),
        centred=len(faces) >= FEWEST_CENTRED,
        encoder=str(options.encoder),
        spaces=list(neighbours),
    )
    replace_file(options.out, page.encode())
    line = f"{options.out}: {reader.counted(len(faces))}"
    print(reader.report(line, beside=options.out))


def _centre(encoder: FaceEncoder, space: str, codes: torch.Tensor) -> torch.Tensor:
    """The code [D] to subtract before comparison: the mean of all, of few the one in the encoder's
    card, or zeros."""
    from ssl_faces.apps.embedding import verification_of

    if len(codes) >= FEWEST_CENTRED:
        return codes.double().mean(0)
    known = verification_of(encoder, space)
    return codes.double().new_zeros(codes.shape[1]) if known is None else known.mean


def nearest(
    codes: torch.Tensor, count: int, films: Sequence[str | None] | None, centre: torch.Tensor
) -> list[list[tuple[int, float]]]:
    """For each face its nearest neighbours and their cosine similarity, most similar first.

    Args:
        codes: [N, D].
        count: neighbours per face, at most.
        films: the video of each face, None for images: frames of one video are not compared.
        centre: [D], subtracted from the codes first.
    """
    import torch

    values = torch.nn.functional.normalize(codes.double() - centre, dim=1)
    names = list(films or [None] * len(codes))
    numbers = {None: -1} | {name: i for i, name in enumerate(set(names) - {None})}
    film = torch.tensor([numbers[name] for name in names])
    neighbours: list[list[tuple[int, float]]] = []
    for rows in torch.arange(len(codes)).split(_ROWS):
        cosines = values[rows] @ values.T
        cosines[torch.arange(len(rows)), rows] = -torch.inf
        cosines[(film[rows, None] == film) & (film[rows, None] >= 0)] = -torch.inf
        best, places = cosines.topk(min(count, len(codes)), dim=1)
        for pairs in zip(places.tolist(), best.tolist(), strict=True):
            of_face = zip(*pairs, strict=True)
            neighbours.append([(i, round(value, 3)) for i, value in of_face if value > -2])
    return neighbours
