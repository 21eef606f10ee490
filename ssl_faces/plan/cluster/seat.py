"""A step's place in the folder that head and workers share: its order, its lock, its results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ssl_faces.common.files import regular, replace_file
from ssl_faces.common.run_record import claim

if TYPE_CHECKING:
    from ssl_faces.plan.steps import Step

ATTEMPTS = "attempts"
"""Folder of all seats of a plan, and of what Slurm's jobs print."""

LOCK = "lock"

PATIENCE = 120.0
"""Seconds that a worker of an earlier order has to end."""


@dataclass(frozen=True)
class Order:
    """What the worker of a seat shall run; one order is one attempt."""

    token: str  # unique; a worker with another one ends
    key: str  # of the step
    cluster: str  # where it runs: `slurm` or `ray`
    count: int  # of the attempts so far
    version: str  # of this package
    # argv, log, environment: of the step
    argv: list[str]
    log: str
    folder: str  # the current folder
    environment: dict[str, str] = field(default_factory=dict)
    job: str = ""  # its name there; empty until it is submitted
    end: str = ""  # `term` asks the step to save its checkpoint and end, `kill` ends it at once


@dataclass(frozen=True)
class Result:
    """How a worker's command ended."""

    code: int | None  # its exit code; None if it could not be started
    error: str  # its message; empty if it succeeded
    early: bool  # whether the cluster ended it, not the head


_Content = TypeVar("_Content", Order, Result)


class Seat:
    """Files of one step, by its output folder: whatever its settings, it runs once at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, step: Step, out: Path) -> Seat:
        """The seat of a step of the plan in `out`."""
        name = os.path.relpath(step.out, out)
        return cls(out.absolute() / ATTEMPTS / hashlib.sha256(name.encode()).hexdigest()[:16])

    def order(self) -> Order | None:
        """The present order; None if there is none."""
        return self._read("order", Order)

    def result(self, token: str) -> Result | None:
        """The result of an order; None if there is none yet."""
        return self._read(token, Result)

    def _read(self, name: str, kind: type[_Content]) -> _Content | None:
        try:
            return kind(**json.loads(regular(self.folder / f"{name}.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, content: Order | Result, name: str = "order") -> None:
        """Write the order, or the result of the order `name`. Raises InputError: the folder can't
        be written."""
        replace_file(self.folder / f"{name}.json", json.dumps(asdict(content)).encode())

    def started(self, token: str) -> Path:
        """The file that a worker makes when it has the lock."""
        return self.folder / f"{token}.started"

    def clear(self) -> None:
        """Remove the order and all results. A worker that still runs ends at once."""
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                if path.name != LOCK:
                    path.unlink(missing_ok=True)

    def vacate(self) -> None:
        """End what runs by an earlier order, after it has saved its checkpoint. Raises InputError:
        it doesn't end, or the folder can't be written."""
        order = self.order()
        if order is not None:
            self.write(replace(order, end="term"))
            os.close(claim(self.folder, LOCK, PATIENCE))
            self.clear()


def launcher() -> Callable[[str, str], str]:
    """What a cluster's job calls with a seat's folder and a token: it starts a worker, waits for
    it, and returns the worker's error. It is pickled whole, as this package may be missing there.
    """

    def launch(folder: str, token: str) -> str:
        import signal
        import socket
        import subprocess
        import sys
        import tempfile
        import threading

        words = [sys.executable, "-P", "-m", "ssl_faces.plan.cluster.worker", folder, token]
        with tempfile.TemporaryFile() as file:
            worker = subprocess.Popen(words, stderr=file, start_new_session=True)
            if threading.current_thread() is threading.main_thread():
                # Slurm's signals: the worker has the step save its checkpoint.
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
                    signal.signal(number, lambda *_: worker.terminate())
            code = worker.wait()
            file.seek(0)
            lines = file.read().decode(errors="replace").strip().splitlines() or [""]
        if code <= 0:
            return ""  # killed by a signal, it may be tried again
        where = f"{socket.gethostname()}, {sys.executable}"
        if "No module named" in lines[-1]:
            return f"{where}: ssl-faces, or this version of it, is not installed; install it there"
        return lines[-1] if code == 2 else f"{where}: {lines[-1]} (exit code {code})"

    return launch
