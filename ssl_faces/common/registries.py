"""Classes and functions that register themselves when their module is imported."""

from __future__ import annotations

import pkgutil
from importlib import import_module


def import_modules(package: str) -> None:
    """Import the modules of a package, so that what they define is registered."""
    for module in pkgutil.iter_modules(import_module(package).__path__):
        import_module(f"{package}.{module.name}")
