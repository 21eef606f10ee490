"""The methods and their configs by name."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path

from ssl_faces.common.errors import InputError
from ssl_faces.common.registries import import_modules
from ssl_faces.methods.method import Method

_INSTALLED = Path(__file__).parents[1] / "configs"

CONFIGS = (_INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[2] / "configs") / "method"
"""Folder of the methods' configs: in the installed package, or in the clone."""


def methods() -> dict[str, type[Method]]:
    """The classes of all pretraining methods by name, such as `{"simclr": SimCLR, …}`, sorted.

    A method of your own is listed once its module is imported.
    """
    import_modules("ssl_faces.methods")
    named = {kind.name: kind for kind in _subclasses(Method) if "name" in kind.__dict__}
    return dict(sorted(named.items()))


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        InputError: no such method; names similar ones.
    """
    known = methods()
    if name not in known:
        near = get_close_matches(name, known, n=3) or known
        raise InputError(f"method '{name}': unknown; there are {', '.join(near)}")
    return known[name]


def config_of(name: str) -> Path | None:
    """The config of a name such as `simclr`; None if there is none."""
    path = CONFIGS / f"{name}.yaml"
    return path if path.is_file() else None


def _subclasses(kind: type[Method]) -> Iterator[type[Method]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
