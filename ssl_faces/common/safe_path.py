"""Remove the current folder from the module path of child processes.

`python -m`, `python -c` and workers of `multiprocessing` search the current folder before the
standard library. In a downloaded folder with a `torch.py` they would run its code.
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
    """Set environment variables for safe-path mode in child processes and their children."""
    environment.setdefault(_VARIABLE, "1")
    root = str(Path(__file__).parents[2])
    # Keep this code importable for `python -m ssl_faces.cli` in a checkout without installation.
    if not sys.flags.safe_path and root not in sys.path[1:] and _first_folder() == root:
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{known}{os.pathsep}{root}" if known else root


def unprotect(environment: MutableMapping[str, str]) -> None:
    """Undo `protect` for a user's program, which needs its own folder."""
    if not sys.flags.safe_path:
        environment.pop(_VARIABLE, None)


def _first_folder() -> str:
    return os.path.realpath(sys.path[0] or os.curdir) if sys.path else ""
