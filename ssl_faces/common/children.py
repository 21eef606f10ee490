"""Signals that stop a command, and pools of worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
    """Processes that are started within ignore Ctrl-C, which a terminal sends to all.

    The process that started them ends them. It receives Ctrl-C itself, at the latest afterwards.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def exit_code(program: str, command: Callable[[], int]) -> int:
    """Run a command; its exit code, or 128 plus the number of the signal that stopped it.

    A command that was stopped prints one line.
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


@contextmanager
def stoppable(*more: signal.Signals) -> Iterator[None]:
    """Ctrl-C, SIGTERM, a closed terminal and `more` signals raise `Stopped` within.

    Processes that are forked within end by them at once and silently.
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
        # What `nohup` ignores stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def collected_signals() -> Iterator[list[int]]:
    """Within, signals that would call a handler are appended to the list instead."""
    numbers: list[int] = []
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (*_SIGNALS, signal.SIGUSR1):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, lambda received, frame: numbers.append(received))
    try:
        yield numbers
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
