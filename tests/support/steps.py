"""Steps of a plan that are small scripts, and the engine that runs them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssl_faces.plan.command import run_plan
from ssl_faces.plan.engine import Engine
from ssl_faces.plan.processes import Failed
from ssl_faces.plan.steps import Step
from tests.support.waiting import eventually

COMMAND = ["ssl-faces", "job", "-c", "x.yaml"]


def step(place: Path, name: str, code: str = "", **more: Any) -> Step:
    """A step of a short program; it appends its name to `calls`, and leaves a file of its name."""
    program = (
        "import os, pathlib, signal, sys, time\n"
        f"out = pathlib.Path({str(place)!r})\n"
        f"with open(out / 'calls', 'a') as file: file.write('{name}\\n')\n"
        f"{code}\n"
        f"(out / '{name}').touch()\n"
    )
    argv = [sys.executable, "-S", "-c", program]
    settings = {"out": place / f"{name}.out", "is_whole": (place / name).exists, **more}
    return Step(name, argv, place / f"{name}.log", **settings)


def calls(out: Path) -> list[str]:
    return (out / "calls").read_text().split()


def run(out: Path, steps: list[Step], **settings: Any) -> tuple[int, dict[str, Failed]]:
    failures: dict[str, Failed] = {}

    def work(engine: Engine) -> int:
        engine.begin()
        engine.run(steps)
        failures.update(engine.failures)
        return 1 if failures else 0

    return run_plan(COMMAND, out, work, **settings), failures


WAIT = """
if not (out / 'go').exists():
    def stop(number, frame):
        (out / 'saved').touch()
        sys.exit(143)
    signal.signal(signal.SIGTERM, stop)
    (out / 'ready').touch()
    time.sleep(60)
"""


def send(ready: Callable[[], bool], *numbers: int) -> threading.Thread:
    """Send signals to this process once something is true."""

    def wait() -> None:
        eventually(ready)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    sender = threading.Thread(target=wait)
    sender.start()
    return sender
