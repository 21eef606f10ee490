"""`ssl-faces bench start`: CPU seconds of `--help`, by a child process's own account."""

from __future__ import annotations

import argparse
import resource
import subprocess
import time
from statistics import median

from ssl_faces.bench.result import Result, Value
from ssl_faces.common.arguments import whole
from ssl_faces.common.safe_path import python

COMMANDS = (
    "ssl_faces.cli --help",
    "ssl_faces.cli bench --help",
    "ssl_faces.cli fit --help",
    "linear_probe.cli --help",
    "linear_probe.cli run --help",
    "linear_probe.cli report --help",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=whole(1), default=5)


def measure(arguments: argparse.Namespace) -> Result:
    """Median CPU and wall seconds of each command, in turn.

    Raises:
        InputError: a number of rounds that can't be.
    """
    cpu: dict[str, list[float]] = {command: [] for command in COMMANDS}
    wall: dict[str, list[float]] = {command: [] for command in COMMANDS}
    for number in range(arguments.rounds + 1):
        for command in COMMANDS:
            started, before = time.perf_counter(), _children()
            subprocess.run(python("-m", *command.split()), check=True, stdout=subprocess.DEVNULL)
            if number:  # the first finds no compiled modules, and files not in memory
                cpu[command].append(_children() - before)
                wall[command].append(time.perf_counter() - started)
    rows: list[dict[str, Value]] = [
        {
            "command": command.replace("_", "-").replace(".cli", ""),
            "CPU s": median(cpu[command]),
            "wall s": median(wall[command]),
        }
        for command in COMMANDS
    ]
    notes = [
        "",
        "`fit --help` lists the settings of Lightning and of the networks by their signatures, for "
        "which it imports them. The time to the first step is told by each run.",
    ]
    return Result("start", {"rounds": arguments.rounds}, rows, notes, {"CPU s": cpu})


def _children() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
