"""The common style of HTML pages."""

from __future__ import annotations

from importlib.resources import files


def base_css() -> str:
    """Colours, text, tables and filters; a page adds its own rules."""
    return (files("ssl_faces.common") / "page.css").read_text(encoding="utf-8")
