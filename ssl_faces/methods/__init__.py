"""Pretraining methods, one a file. Called, the package lists them: `ssl_faces.methods()`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from ssl_faces.common.registries import import_modules

if TYPE_CHECKING:
    from ssl_faces.methods.method import Method


class _Methods(ModuleType):
    """This package, which can be called."""

    def __call__(self) -> dict[str, type[Method]]:
        return methods()


sys.modules[__name__].__class__ = _Methods


def methods() -> dict[str, type[Method]]:
    """The classes of all pretraining methods by name, such as `{"simclr": SimCLR, …}`, sorted.

    A method of your own is listed once its module is imported.
    """
    from ssl_faces.methods.method import Method

    import_modules(__name__)
    kinds = _subclasses(Method)  # type: ignore[type-abstract]
    named = {kind.name: kind for kind in kinds if "name" in kind.__dict__}
    return dict(sorted(named.items()))


def _subclasses(kind: type[Method]) -> Iterator[type[Method]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
