"""Keeps the current folder off the module path of the Python processes that are started.

`python -m`, `python -c` and the workers of `multiprocessing` search the current folder before the
standard library. In a downloaded folder that has a `torch.py` they would run its code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

_VARIABLE = "PYTHONSAFEPATH"


def python(*arguments: str) -> list[str]:
    """The command line of this interpreter in safe-path mode."""
    return [sys.executable, "-P", *arguments]


def protect(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables that make Python processes, and those that they start, leave it out.

    Modules outside this project are found where they are installed, or by PYTHONPATH.
    """
    environment.setdefault(_VARIABLE, "1")
    root = str(Path(__file__).parents[2])
    # `python -m ssl_faces.cli` in a checkout that is not installed: this code alone stays there.
    if not sys.flags.safe_path and root not in sys.path[1:] and _first_folder() == root:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{known}{os.pathsep}{root}" if known else root


def unprotect(environment: MutableMapping[str, str]) -> None:
    """Undo `protect` for a program of the user's, whose own folder has to be on its path."""
    if not sys.flags.safe_path:
        environment.pop(_VARIABLE, None)


def _first_folder() -> str:
    return os.path.realpath(sys.path[0] or os.curdir) if sys.path else ""
