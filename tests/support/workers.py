"""A cluster of plans that only starts workers as processes, as that is quick."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl_faces.plan import command
from ssl_faces.plan.cluster.attempts import State
from ssl_faces.plan.cluster.resources import Resources


class Workers:
    """A `Cluster` of processes, in place of Ray."""

    kind = "ray"
    has_gpus = False

    def __init__(self) -> None:
        self.jobs: dict[str, subprocess.Popen[bytes]] = {}

    def submit(self, name: str, seat: Path, token: str, needs: Resources) -> str:
        words = [sys.executable, "-P", "-m", "ssl_faces.plan.cluster.worker", str(seat), token]
        process = subprocess.Popen(words, stderr=subprocess.PIPE)
        self.jobs[str(process.pid)] = process
        return str(process.pid)

    def state(self, job: str) -> State:
        return "alive" if self.jobs[job].poll() is None else "ended"

    def error(self, job: str) -> str:
        process = self.jobs[job]
        assert process.stderr is not None
        return process.stderr.read().decode().strip() if process.returncode == 2 else ""

    def cancel(self, job: str) -> None:
        if job in self.jobs:
            self.jobs[job].kill()


@pytest.fixture
def workers(monkeypatch) -> Iterator[Workers]:
    cluster = Workers()
    monkeypatch.setattr(command, "_connected", lambda *_: cluster)
    yield cluster
    for process in cluster.jobs.values():
        process.kill()
        process.wait()
