"""The look that all pages which are written as one HTML file share."""

from __future__ import annotations

from importlib.resources import files


def base_css() -> str:
    """Colours, text, tables, filters; a page's own rules come after it."""
    return (files("ssl_faces.common") / "page.css").read_text(encoding="utf-8")
