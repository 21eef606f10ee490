"""A measurement in a process of its own, which prints what it found as JSON.

Scoring is the probes' part of the workbench, which pretraining doesn't import.
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
from ssl_faces.common.pipes import until_the_reader_leaves
from ssl_faces.common.safe_path import python

_KEPT = 3000  # letters of what a process said before it failed


def measured_apart(module: str, words: Sequence[str], show: bool = False) -> Any:
    """What `python -m MODULE WORDS` prints: plain JSON values.

    Args:
        module: one whose `main` is `print_measured`.
        show: pass on what it says meanwhile; for what takes minutes to hours.

    Raises:
        InputError: the measurement refuses its words.
        RuntimeError: it fails.
    """
    command = python("-m", module, *words)
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True)
        assert child.stderr is not None
        told = ""
        for line in child.stderr:
            told = (told + line)[-_KEPT:]
            if show and "error: " not in line:
                print(line, end="", file=sys.stderr, flush=True)
        code = child.wait()
        if code == 2:
            last = told.strip().rpartition("\n")[2]
            raise InputError(last.partition("error: ")[2] or last)
        if code:
            raise RuntimeError(f"{' '.join(command)} failed:\n{told}")
        printed.seek(0)
        return json.load(printed)


def options(arguments: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """`--NAME VALUE` of those that are given, again and again where they are lists."""
    found = []
    for name in names:
        value = getattr(arguments, name)
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                found += [f"--{name.replace('_', '-')}", str(one)]
    return found


def print_measured(
    parser: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], Any],
    argv: Sequence[str] | None = None,
) -> int:
    """Print what is measured as JSON; gives the exit code, as `run_module` does."""
    return run_module(lambda: print(json.dumps(measure(parser.parse_args(argv)))))


@until_the_reader_leaves
def run_module(call: Callable[[], object]) -> int:
    """Run what `python -m MODULE` does; gives 0, or 2 for bad input, printed as one line."""
    try:
        call()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
