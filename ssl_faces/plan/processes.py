"""Executors start the commands of a plan: here as processes of this machine, and their memory."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import write_failure
from ssl_faces.common.run_record import note_holder
from ssl_faces.common.safe_path import protect, python, unprotect

_CGROUP = Path("/sys/fs/cgroup")
_PROC = Path("/proc")


def free_memory() -> int | None:
    """Free bytes of the machine and of the container; None if unknown."""
    free = []
    available = _kib(_PROC / "meminfo", "MemAvailable")
    if available is not None:
        free.append(available)
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit.isdecimal():
            used = int((_CGROUP / "memory.current").read_text())
            # The system can take back what it caches of files.
            stat = (_CGROUP / "memory.stat").read_text()
            cached = re.search(r"^inactive_file (\d+)$", stat, re.MULTILINE)
            free.append(int(limit) - used + (int(cached[1]) if cached else 0))
    except (OSError, ValueError):
        pass
    return min(free) if free else None


def peak_memory(process: int) -> int:
    """Most bytes that a process has held at once so far; 0 if unknown."""
    return _kib(_PROC / str(process) / "status", "VmHWM") or 0


def _kib(path: Path, key: str) -> int | None:
    try:
        match = re.search(rf"^{key}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


_PROGRAMS = {"ssl-faces": "ssl_faces.cli", "linear-probe": "linear_probe.cli"}


class Failed(Exception):
    """A command that failed; the message is its error sentence, or its last line.

    Attributes:
        code: its exit code, below 0 the signal that killed it; None if it never started.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Process(Protocol):
    """A command that an executor has started.

    Attributes:
        pid: of the process here that stands for it; 0 if there is none.
        about: for the state of its step.
    """

    pid: int

    @property
    def about(self) -> Mapping[str, Any]: ...

    def check(self) -> bool:
        """Whether it has ended. Raises `Failed` if it ended with an error."""

    def ask_to_end(self, number: int) -> None:
        """Pass on a signal: a run saves its checkpoint at the end of its step."""

    def kill(self) -> None:
        """End it at once."""


Executor = Callable[[Sequence[str], Path, int, Mapping[str, str]], Process]
"""Starts a command: its arguments with the program first, its log, the lock that it inherits, and
further variables of the environment. Raises `Failed`, or InputError if the log can't be written."""


class Command:
    """A process of this machine; all its output is appended to `log`. An `Executor`.

    Args:
        ends_with_us: it gets SIGTERM when this process ends, however that ends (on Linux).
    """

    about: Mapping[str, Any] = {}

    def __init__(
        self,
        argv: Sequence[str],
        log: Path,
        lock: int,
        environment: Mapping[str, str] | None = None,
        ends_with_us: bool = False,
    ) -> None:
        self.log = log
        words, is_ours = _runnable(argv)
        variables = {**os.environ, **(environment or {})}
        (protect if is_ours else unprotect)(variables)
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = log.open("ab")
        except OSError as error:
            raise InputError(f"{log}: {write_failure(error)}") from error
        with file:
            self._begin = file.tell()
            try:
                # In its own session, so that Ctrl-C reaches it only from here.
                self._process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock,),
                    env=variables,
                    preexec_fn=_end_with_parent if ends_with_us else None,
                )
            except OSError as error:
                raise Failed(f"{words[0]}: can't be run ({error.strerror})") from error
        self.pid = self._process.pid
        note_holder(lock, self.pid)

    def check(self) -> bool:
        code = self._process.poll()
        if code:
            raise Failed(self._last_words(code), code)
        return code is not None

    def ask_to_end(self, number: int = signal.SIGTERM) -> None:
        # Slurm's warning is passed on unchanged: a run that gets it requeues itself.
        self._process.send_signal(number if number == signal.SIGUSR1 else signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _last_words(self, code: int) -> str:
        """The sentence of its error, else its last line."""
        with self.log.open("rb") as file:
            file.seek(self._begin)
            text = file.read().decode(errors="replace")
        lines = [line.strip() for line in re.split(r"[\r\n]", text) if line.strip()]
        for line in reversed(lines):
            program, _, sentence = line.partition(": error: ")
            if program in _PROGRAMS and sentence:
                return sentence
        last = shorten(lines[-1], 300) if lines else "it printed nothing"
        end = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        return f"{last} ({end}; see {self.log})"


def _end_with_parent() -> None:
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _runnable(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The command line for this process, and whether it is a command of this project.

    Those run from this installation, even if it is not on the PATH.
    """
    words = list(argv[1:]) if argv[0] == "/usr/bin/env" and len(argv) > 1 else list(argv)
    module = _PROGRAMS.get(Path(words[0]).name)
    if module is not None:
        return python("-m", module, *words[1:]), True
    if argv[0] == "python":
        return [sys.executable, *argv[1:]], False
    return list(argv), list(argv[:2]) == python()
