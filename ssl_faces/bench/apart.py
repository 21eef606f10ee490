"""Measurements in another Python process, which prints its result as JSON.

`linear_probe` scores features, and `ssl_faces` does not import it: it runs it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from ssl_faces.common.errors import InputError
from ssl_faces.common.pipes import exit_on_closed_pipe
from ssl_faces.common.safe_path import python

_MOST_STDERR = 3000  # characters, for the error message


def run_in_subprocess(module: str, argv: Sequence[str], show: bool = False) -> Any:
    """Run `python -m MODULE ARGV` and return what it prints, parsed from JSON.

    Args:
        module: a module that calls `print_json`.
        show: pass on its stderr while it runs, for measurements of minutes to hours.

    Raises:
        InputError: the measurement refuses its arguments.
        RuntimeError: the measurement fails.
    """
    command = python("-m", module, *argv)
    with tempfile.TemporaryFile("w+") as stdout:
        child = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        stderr = ""
        for line in child.stderr:
            stderr = (stderr + line)[-_MOST_STDERR:]
            if show and "error: " not in line:
                print(line, end="", file=sys.stderr, flush=True)
        code = child.wait()
        if code == 2:
            last = stderr.strip().rpartition("\n")[2]
            raise InputError(last.partition("error: ")[2] or last)
        if code:
            raise RuntimeError(f"{' '.join(command)} failed:\n{stderr}")
        stdout.seek(0)
        return json.load(stdout)


@exit_on_closed_pipe
def print_json(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Any],
    argv: Sequence[str] | None = None,
) -> int:
    """Print a measurement as JSON: the body of `python -m MODULE`.

    Returns:
        The exit code: 0, or 2 for bad input, which is printed as one line.
    """
    try:
        print(json.dumps(measure(parser.parse_args(argv))))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
