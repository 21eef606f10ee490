"""Pages of faces in sections, with the error rates of finding people."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple


class ShownFace(NamedTuple):
    """A face on a page.

    Attributes:
        name: its key.
        image: a JPEG in base64, see `thumbnail`.
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


def rates_table(rates: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Measured rates as a table: percent with 95 % intervals. Empty without rates."""
    if not rates:
        return []
    rows = [[*RATES.values(), "n"]]
    for row in rates:
        cells = [
            "{:.1f} % [{:.1f}, {:.1f}]".format(
                *(row[name][key] for key in ("value", "low", "high"))
            )
            for name in list(RATES)[1:]
        ]
        rows.append([f"{row['gallery']:,}", *cells, f"{row['n']:,}"])
    return rows


def face_page(
    title: str,
    lead: Sequence[str],
    sections: Sequence[Section],
    table: Sequence[Sequence[str]] = (),
) -> str:
    """The page, HTML; it holds its pictures and needs no network."""
    from jinja2 import Environment, StrictUndefined

    from ssl_faces.common.page_style import base_css

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = (files("ssl_faces.apps") / "faces.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(
        title=title, lead=lead, sections=sections, table=table, css=base_css()
    )
