"""`ssl-faces gallery`: each face's nearest by expression code and by identity code, as a page."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ssl_faces.apps.arguments import (
    add_detection,
    add_encoder,
    add_frames,
    add_sources,
    parser,
    writable,
)
from ssl_faces.common.arguments import whole
from ssl_faces.common.errors import InputError
from ssl_faces.common.outputs import add_overwrite, check_output

if TYPE_CHECKING:
    import torch

    from ssl_faces.apps.faces import Face

ABOUT = """\
A page on which each face stands with those nearest to it by expression code and by identity code.
It is one file, holds its pictures and needs no network. Frames of one video are not each other's
neighbours.
"""

MOST_FACES = 5000
"""On a page: about a kilobyte and a half each."""

THUMBNAIL = 64
_ROWS = 1024  # similarities of so many faces to all others at once


def run(arguments: Sequence[str]) -> None:
    """Run `ssl-faces gallery` with these arguments.

    Raises:
        InputError: bad input, or fewer than two faces.
    """
    of = parser("gallery", ABOUT)
    add_sources(of, "pictures, videos, or folders of them")
    of.add_argument("--out", required=True, type=Path, metavar="FILE.html")
    add_overwrite(of)
    add_encoder(of)
    of.add_argument("--spaces", default="expression,identity", metavar="S,S")
    of.add_argument(
        "--nearest", type=whole(1, 50), default=8, metavar="K", help="of each (default: 8)"
    )
    add_frames(of)
    add_detection(of)
    given = of.parse_args(arguments)
    if given.out.suffix not in (".html", ".htm"):
        raise InputError(f"--out {given.out}: give a name that ends in .html")
    check_output(given.out, given.overwrite, given.sources)
    from ssl_faces.apps.embedding import codes_of
    from ssl_faces.apps.faces import FaceFinder, FaceReader
    from ssl_faces.common.files import replace_file
    from ssl_faces.encoders.encoder import load_encoder

    encoder = load_encoder(given.encoder)
    spaces = [space for space in given.spaces.split(",") if space]
    finder = FaceFinder(encoder.input_size, given.detect, given.detector)
    reader = FaceReader(given.sources, finder, fps=given.fps, out=given.out)
    faces: list[Face] = []
    thumbnails: list[str] = []

    def crops() -> Iterator[np.ndarray]:
        for face in reader:
            if len(faces) == MOST_FACES:
                raise InputError(
                    f"more than {MOST_FACES:,} faces, too many for a page; give fewer pictures, or "
                    "a lower --fps"
                )
            faces.append(face.without_pixels())
            thumbnails.append(thumbnail(face.pixels))
            yield face.pixels

    import torch

    parts = list(codes_of(encoder, crops(), spaces))
    if len(faces) < 2:
        raise reader.nothing() if not faces else InputError("one face has no neighbours; give more")
    films = [face.source if face.of_video else None for face in faces]
    found = {
        space: nearest(torch.cat([part[space] for part in parts]), given.nearest, films)
        for space in spaces
    }
    replace_file(given.out, page(faces, thumbnails, found, str(given.encoder)).encode())
    print(f"{given.out}: {len(faces):,} faces of {reader.files:,} files")
    if said := reader.summary():
        print(said)


def thumbnail(pixels: np.ndarray) -> str:
    """A face as a JPEG in base64."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return base64.b64encode(data.getvalue()).decode()


def nearest(
    codes: torch.Tensor, count: int, films: Sequence[str | None] | None = None
) -> list[list[tuple[int, float]]]:
    """Of each face the others nearest to it, and their cosine similarity, the most alike first.

    Args:
        codes: [N, D]; their mean is taken off first, which all faces share.
        count: how many, if there are so many.
        films: of each the video that it is a frame of, None in a picture: frames of one video are
            not compared.
    """
    import torch

    values = codes.double() - codes.double().mean(0)
    values = torch.nn.functional.normalize(values, dim=1)
    numbers = {film: n for n, film in enumerate(dict.fromkeys(films or ()))}
    film = torch.tensor(
        [-1 if one is None else numbers[one] for one in films or [None] * len(codes)]
    )
    found: list[list[tuple[int, float]]] = []
    for start in range(0, len(codes), _ROWS):
        rows = torch.arange(start, min(len(codes), start + _ROWS))
        alike = values[rows] @ values.T
        alike[torch.arange(len(rows)), rows] = -torch.inf
        alike[(film[rows, None] == film) & (film[rows, None] >= 0)] = -torch.inf
        best, places = alike.topk(min(count, len(codes)), dim=1)
        for similarities, of_row in zip(best.tolist(), places.tolist(), strict=True):
            pairs = zip(of_row, similarities, strict=True)
            found.append([(i, round(s, 3)) for i, s in pairs if s > -2])
    return found


def page(
    faces: Sequence[Face],
    thumbnails: Sequence[str],
    found: dict[str, list[list[tuple[int, float]]]],
    encoder: str,
) -> str:
    """The page, HTML."""
    from jinja2 import Environment, StrictUndefined

    from ssl_faces.common.page_style import base_css

    data = json.dumps(
        {
            "names": [writable(face.key) for face in faces],
            "faces": list(thumbnails),
            "spaces": found,
        },
        separators=(",", ":"),
    )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = (files("ssl_faces.apps") / "gallery.html").read_text(encoding="utf-8")
    # As JSON that can't end the script it stands in.
    safe = data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return environment.from_string(text).render(
        css=base_css(), data=safe, count=len(faces), encoder=encoder, spaces=list(found)
    )
