"""HTML pages from jinja2 templates, with one style."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def base_css() -> str:
    """Colours, text, tables and filters; a page adds its own rules."""
    return (files("ssl_faces.common") / "page.css").read_text(encoding="utf-8")


def asset(package: str, name: str) -> str:
    """A text file of a package."""
    return (files(package) / name).read_text(encoding="utf-8")


def rendered(package: str, name: str, strict: bool = True, **values: Any) -> str:
    """The page of a package's template; `css` is the common style, unless it is given.

    Args:
        strict: a value that is missing is an error, not an empty text.
    """
    from jinja2 import Environment, StrictUndefined, Undefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined if strict else Undefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(asset(package, name)).render({"css": base_css(), **values})


def json_in_script(data: Any) -> str:
    """JSON that can't end the script element around it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
