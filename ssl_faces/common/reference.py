"""`make docs`: the API reference of the public modules, from their docstrings, by pdoc."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

PACKAGES = ("ssl_faces", "linear_probe")
"""Their `__all__` is the public API."""

CONTRACTS = (
    "ssl_faces.data.faces",
    "ssl_faces.data.sets.recognised",
    "ssl_faces.losses.contrast",
    "ssl_faces.methods.encoder_method",
    "ssl_faces.methods.joint_embedding",
    "ssl_faces.methods.method",
    "ssl_faces.methods.optimizer",
    "ssl_faces.networks.backbone",
    "ssl_faces.rendered",
    "linear_probe.records.runner",
    "linear_probe.heads.goals",
    "linear_probe.heads.head",
    "linear_probe.probes.kinds",
    "linear_probe.features.source",
    "linear_probe.tasks.task",
)
"""Modules with the classes that a user extends."""


def build(out: Path) -> None:
    """Write the pages to `out`/index.html and below; a warning of pdoc is an error.

    Raises:
        UserWarning: a name or a type in the documentation can't be found.
    """
    import pdoc

    for package in map(import_module, PACKAGES):
        # pdoc only sees what was imported.
        for name in package.__all__:
            value = getattr(package, name)
            package.__dict__[name] = getattr(value, name, value)  # a package's function
    for module in map(import_module, CONTRACTS):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, tuple):
                # The types of a NamedTuple's constructor are text that only its module knows.
                kind.__new__.__annotations__ = get_type_hints(kind)
    pdoc.render.configure(docformat="google", show_source=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", module="pdoc")
        pdoc.pdoc(*PACKAGES, "!ssl_faces.methods", *CONTRACTS, output_directory=out)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
    print(f"API reference: {sys.argv[1]}/index.html")
