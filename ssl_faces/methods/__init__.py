"""Pretraining methods, one a file. Called, the package lists them: `ssl_faces.methods()`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_faces.methods.method import Method


class _Methods(ModuleType):
    """This package, which can be called."""

    def __call__(self) -> dict[str, type[Method]]:
        from ssl_faces.training.catalogue import methods

        return methods()


sys.modules[__name__].__class__ = _Methods
