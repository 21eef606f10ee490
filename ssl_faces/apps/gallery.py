"""`ssl-faces gallery`: a page with each face's nearest neighbours by expression and identity."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssl_faces.apps.arguments import add_reader, parser, writable
from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output
from ssl_faces.common.plurals import plural

if TYPE_CHECKING:
    import torch

    from ssl_faces.apps.faces import Face

ABOUT = """\
A page that shows each face with its nearest neighbours by expression code and by identity code. It
is one file that holds its pictures and needs no network. Frames of one video are not each other's
neighbours.
"""

MOST_FACES = 5000
"""Faces on a page, about 1.5 kB each."""

THUMBNAIL = 64
_ROWS = 1024  # faces whose similarities to all others are computed at once


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces gallery`; bad input and fewer than two faces raise InputError."""
    of = parser("gallery", ABOUT)
    of.add_argument("--out", required=True, type=Path, metavar="FILE.html")
    add_overwrite(of)
    add_reader(of)
    of.add_argument("--spaces", default="expression,identity", metavar="S,S")
    of.add_argument(
        "--nearest", type=whole(1, 50), default=8, metavar="K", help="of each (default: 8)"
    )
    options = of.parse_args(arguments)
    out: Path = options.out
    if out.suffix not in (".html", ".htm"):
        raise InputError(f"--out {out}: give a name that ends in .html")
    check_output(out, options.overwrite, options.sources)
    from ssl_faces.apps.embedding import open_reader, read_codes
    from ssl_faces.common.files import replace_file

    thumbnails: list[str] = []

    def see(face: Face) -> None:
        if len(thumbnails) == MOST_FACES:
            raise InputError(
                f"more than {MOST_FACES:,} faces, too many for a page; give fewer pictures, or "
                "a lower --fps"
            )
        thumbnails.append(thumbnail(face.pixels))

    encoder, reader = open_reader(options)
    spaces = [space for space in options.spaces.split(",") if space]
    faces, codes = read_codes(encoder, reader, spaces, see)
    if len(faces) < 2:
        raise InputError("one face has no neighbours; give more")
    films = [face.source if face.of_video else None for face in faces]
    neighbours = {space: nearest(values, options.nearest, films) for space, values in codes.items()}
    replace_file(out, page(faces, thumbnails, neighbours, str(options.encoder)).encode())
    print(f"{out}: {plural(len(faces), 'face')} of {plural(reader.files, 'file')}")
    reader.print_summary()


def thumbnail(pixels: np.ndarray) -> str:
    """A face as a JPEG in base64."""
    return base64.b64encode(jpeg(pixels)).decode()


def jpeg(pixels: np.ndarray) -> bytes:
    """A small JPEG of a face."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()


def nearest(
    codes: torch.Tensor, count: int, films: Sequence[str | None] | None = None
) -> list[list[tuple[int, float]]]:
    """For each face its nearest neighbours and their cosine similarity, most similar first.

    Args:
        codes: [N, D]; their mean is subtracted first.
        count: neighbours per face, at most.
        films: the video of each face, None for images: frames of one video are not compared.
    """
    import torch

    values = codes.double() - codes.double().mean(0)
    values = torch.nn.functional.normalize(values, dim=1)
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


def page(
    faces: Sequence[Face],
    thumbnails: Sequence[str],
    neighbours: dict[str, list[list[tuple[int, float]]]],
    encoder: str,
) -> str:
    """The page, HTML."""
    from jinja2 import Environment, StrictUndefined

    from ssl_faces.common.page_style import base_css

    data = json.dumps(
        {
            "names": [writable(face.key) for face in faces],
            "faces": list(thumbnails),
            "spaces": neighbours,
        },
        separators=(",", ":"),
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = (files("ssl_faces.apps") / "gallery.html").read_text(encoding="utf-8")
    # Escaped, so that it can't end its script element.
    safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return environment.from_string(text).render(
        css=base_css(), data=safe, count=len(faces), encoder=encoder, spaces=list(neighbours)
    )
