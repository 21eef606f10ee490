"""Measurements in another Python process, which prints its result as JSON.

`linear_probe` scores features, and `ssl_faces` does not import it: it runs it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from ssl_faces.common.errors import InputError
from ssl_faces.common.pipes import exit_on_closed_pipe
from ssl_faces.common.safe_path import python


def run_in_subprocess(module: str, argv: Sequence[str]) -> Any:
    """Run `python -m MODULE ARGV` and return what it prints, parsed from JSON.

    Args:
        module: a module that calls `print_json`. What it prints to stderr is shown.

    Raises:
        InputError: the measurement refuses its arguments.
        RuntimeError: the measurement fails.
    """
    command = python("-m", module, *argv)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, 2):
        raise RuntimeError(f"{' '.join(command)} failed, see above")
    result = json.loads(done.stdout)
    if done.returncode == 2:
        raise InputError(result["error"])
    return result


@exit_on_closed_pipe
def print_json(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Any],
    argv: Sequence[str] | None = None,
) -> int:
    """Print a measurement, or the error of bad input, as JSON; returns the exit code, 0 or 2."""
    try:
        result, code = measure(parser.parse_args(argv)), 0
    except InputError as error:
        result, code = {"error": str(error)}, 2
    print(json.dumps(result))
    return code
