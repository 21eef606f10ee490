"""Pages of faces, with small pictures of them inside, and the error rates of finding people."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ssl_faces.apps.arguments import percent
from ssl_faces.common.errors import InputError
from ssl_faces.common.page_style import rendered

if TYPE_CHECKING:
    from ssl_faces.apps.faces import Face

MOST_FACES = 5000
"""Faces on a page, about 1.5 kB each."""

THUMBNAIL = 64


class Thumbnails(list[str]):
    """Small pictures of faces for a page, JPEG in base64."""

    def add(self, face: Face) -> None:
        """Add a face; InputError if there are too many for a page."""
        if len(self) == MOST_FACES:
            raise InputError(
                f"more than {MOST_FACES:,} faces, too many for a page; give fewer pictures, or a "
                "lower --fps"
            )
        self.append(as_text(jpeg(face.pixels)))


def jpeg(pixels: np.ndarray) -> bytes:
    """A small JPEG of a face, uint8 [S, S, 3]."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=85)
    return data.getvalue()


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class ShownFace(NamedTuple):
    """A face on a page.

    Attributes:
        name: its key.
        image: a JPEG in base64.
        caption: below it.
        strong: whether it is marked.
    """

    name: str
    image: str
    caption: str = ""
    strong: bool = False


class Section(NamedTuple):
    """A heading with faces."""

    title: str
    faces: list[ShownFace]


RATES = {
    "gallery": "people in the gallery",
    "rank_1": "right person first",
    "rank_5": "among the first five",
    "tpir": "first and above the threshold",
    "fpir": "unknown people with a match above the threshold",
}
"""Headings of measured rates, see `Identification`."""


def face_page(
    title: str,
    lead: Sequence[str],
    sections: Sequence[Section],
    rates: Sequence[dict[str, Any]] = (),
) -> bytes:
    """The page, HTML; it holds its pictures and needs no network.

    Args:
        rates: see `Identification`, shown as a table.
    """
    table = [
        [f"{row['gallery']:,}", *(percent(row[name]) for name in [*RATES][1:]), f"{row['n']:,}"]
        for row in rates
    ]
    return rendered(
        "ssl_faces.apps",
        "faces.html",
        title=title,
        lead=lead,
        sections=sections,
        heads=[*RATES.values(), "n"],
        table=table,
    ).encode()
