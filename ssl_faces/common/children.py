"""Commands run as a user would type them, one after the other, and pools of worker processes."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from ssl_faces.common.errors import InputError, shorten
from ssl_faces.common.files import write_failure
from ssl_faces.common.safe_path import protect, python, unprotect

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 120.0  # seconds that a run has to save its checkpoint


def worker_pool(
    workers: int,
    start: Callable[..., None],
    arguments: tuple[Any, ...] = (),
    method: str = "spawn",
) -> ProcessPoolExecutor:
    """A pool of processes that end when this one does, however it ends.

    Args:
        start: what each worker does first, with `arguments`.
        method: how workers are started. Forked from a process with torch's threads, a worker may
            hang.
    """
    context = multiprocessing.get_context(method)
    return ProcessPoolExecutor(workers, context, _start_worker, (start, arguments))


def _start_worker(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    end_with_parent()
    start(*arguments)


def end_with_parent() -> None:
    """Have a process that `multiprocessing` started end when its parent does.

    A parent that is killed by SIGKILL ends no worker, and they would wait for work for ever.
    """
    parent = multiprocessing.parent_process()

    def wait() -> None:
        assert parent is not None
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=wait, daemon=True).start()


class Stopped(BaseException):
    """A signal that asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return signal.Signals(self.number).name


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started within don't hear Ctrl-C, which a terminal sends to all: the one
    that started them ends them. It hears it itself, at the latest afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def exit_code(program: str, command: Callable[[], int]) -> int:
    """Run a command; its exit code, or 128 and the number of the signal that stopped it.

    That it was stopped is said in one line.
    """
    try:
        with stoppable():
            return command()
    except Stopped as stopped:
        number = stopped.number
    except KeyboardInterrupt:  # of a handler that the command has set itself
        number = signal.SIGINT
    except SystemExit as error:
        # Lightning's way to end after a second Ctrl-C.
        if type(error) is not SystemExit or not isinstance(error.__context__, KeyboardInterrupt):
            raise
        number = signal.SIGINT
    # A terminal has shown ^C on the line.
    new_line = "\n" if sys.stderr.isatty() else ""
    print(f"{new_line}{program}: stopped by {signal.Signals(number).name}", file=sys.stderr)
    return 128 + number


class Failed(Exception):
    """A command that failed; the message is what it said last.

    Attributes:
        code: its exit code, below 0 the signal that killed it; None where it never began.
    """

    def __init__(self, told: str, code: int | None = None) -> None:
        super().__init__(told)
        self.code = code


@contextmanager
def stoppable(*more: signal.Signals) -> Iterator[None]:
    """Ctrl-C, SIGTERM, a closed terminal and `more` signals raise `Stopped` within.

    Processes that are forked within end by them at once, and say nothing.
    """
    process = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != process:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        # Called by a trainer's handler: the trainer ends at the end of its step.
        if signal.getsignal(number) is stop:
            raise Stopped(number)

    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        yield  # no other thread can set handlers, and none gets signals
        return
    for number in (*_SIGNALS, *more):
        # What `nohup` has made deaf stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Held(InputError):
    """Somebody else holds the lock."""


@contextmanager
def only_one(
    folder: Path,
    what: str = "a comparison, or a run that one has started,",
    name: str = "compare.lock",
) -> Iterator[int]:
    """A lock on a folder, as a file descriptor: commands that are given it hold the lock too.

    So it is held until the last of them has ended, also where their parent was killed.

    Args:
        what: is at work in the folder, in words.
        name: of the lock's file.

    Raises:
        InputError: somebody holds it (`Held`), or the folder can't be written.
    """
    path = folder / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"{folder}: {write_failure(error)}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            process = os.pread(handle, 20, 0).decode(errors="replace").strip()
            raise Held(
                f"{folder}: {what} is still at work in it (process {process}); wait for it, or "
                "end it"
            ) from error
        note_holder(handle, os.getpid())
        yield handle
    finally:
        os.close(handle)


def note_holder(lock: int, process: int) -> None:
    """Write to the lock's file who is at work."""
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(process).encode(), 0)


class Command:
    """A command, begun; all that it says is appended to `log`.

    Args:
        lock: of `only_one`, which it holds too.
        environment: variables beside those of this process.

    Raises:
        Failed: it can't be run.
        InputError: the log can't be written.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        lock: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            file = log.open("ab")
        except OSError as error:
            raise InputError(f"{log}: {write_failure(error)}") from error
        with file:
            self._begin = file.tell()
            # In a session of its own, so that Ctrl-C reaches it as SIGTERM from here alone: a run
            # then saves its checkpoint at the end of its step.
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock,),
                    env=_environment(command, environment or {}),
                )
            except OSError as error:
                raise Failed(f"{command[0]}: can't be run ({error.strerror})") from error

    def check(self) -> None:
        """Raises `Failed` where it has ended, and not well."""
        code = self.process.poll()
        if code:
            raise Failed(_last_words(self.log, self._begin, code), code)

    def ask_to_end(self, number: int = signal.SIGTERM) -> None:
        # Slurm's warning is handed on as it is: a run that gets it has itself queued again.
        self.process.send_signal(number if number == signal.SIGUSR1 else signal.SIGTERM)

    def end(self) -> None:
        """Wait for one that was asked to end."""
        try:
            self.process.wait(_PATIENCE)
        except BaseException:
            # Asked once more, or it does not end.
            self.process.kill()
            self.process.wait()


def _environment(command: Sequence[str], more: Mapping[str, str]) -> dict[str, str]:
    found = {**os.environ, **more}
    ours = python()
    if list(command[: len(ours)]) == ours:
        protect(found)
    else:
        unprotect(found)
    return found


class Child(Command):
    """`python -m module WORDS`, begun; the rest as of `Command`."""

    def __init__(
        self,
        module: str,
        words: Sequence[str],
        log: Path,
        lock: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(python("-m", module, *words), log, lock, environment)


def run(module: str, words: Sequence[str], log: Path, lock: int) -> None:
    """Run `python -m module WORDS`, all that it says appended to `log`.

    Raises:
        Failed: it did.
        Stopped: this process was asked to end; the command has ended before.
    """
    run_command(python("-m", module, *words), log, lock)


def run_command(
    command: Sequence[str],
    log: Path,
    lock: int,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[], None] | None = None,
    every: float = 1.0,
) -> None:
    """Run a command, all that it says appended to `log`.

    Args:
        environment: variables beside those of this process.
        watch: called while it runs; what it raises ends the command, as a signal does.
        every: seconds between two looks.

    Raises:
        Failed: it did, or never began.
        Stopped: this process was asked to end; the command has ended before.
        InputError: the log can't be written.
    """
    child = Command(command, log, lock, environment)
    note_holder(lock, child.process.pid)
    try:
        _wait(child.process, watch, every)
    except BaseException as error:
        child.ask_to_end(getattr(error, "number", signal.SIGTERM))
        child.end()
        raise
    finally:
        note_holder(lock, os.getpid())
    child.check()


def _wait(child: subprocess.Popen[bytes], watch: Callable[[], None] | None, every: float) -> None:
    """Until it has ended, called on to look at it meanwhile."""
    while watch is not None:
        try:
            child.wait(every)
        except subprocess.TimeoutExpired:
            watch()
        else:
            return
    child.wait()


def _last_words(log: Path, begin: int, code: int) -> str:
    """The sentence that an error was told in, else the last line said since `begin`."""
    with log.open("rb") as file:
        file.seek(begin)
        text = file.read().decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    for line in reversed(lines):
        for command in ("ssl-faces", "linear-probe"):
            if line.startswith(f"{command}: error: "):
                return line.removeprefix(f"{command}: error: ")
    last = lines[-1] if lines else "it said nothing"
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{shorten(last, 300)} ({how}; see {log})"
