"""Output into a pipe whose reader has left, as in `ssl-faces runs | head -1`."""

from __future__ import annotations

import functools
import os
import select
import sys
from collections.abc import Callable
from typing import ParamSpec

from ssl_faces.common.errors import causes

P = ParamSpec("P")

READER_LEFT = 141
"""Exit code then: 128 + SIGPIPE, as a shell reports it of Unix tools."""


def until_the_reader_leaves(main: Callable[P, int]) -> Callable[P, int]:
    """A program's `main` that ends without a word once nobody reads its output any more.

    SIGPIPE stays ignored, since it would also end a program that talks to a closed socket. A
    BrokenPipeError of any other pipe is raised as ever.
    """

    @functools.wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            try:
                code = main(*args, **kwargs)
            except SystemExit:
                _flush()
                raise
            _flush()
            return code
        except BaseException as error:
            if not any(isinstance(cause, BrokenPipeError) for cause in causes(error)):
                raise
            left = [fd for fd in _outputs() if _reader_has_left(fd)]
            # Rich ends the program with exit code 1, and has led its output to nowhere already.
            if not left and not isinstance(error, SystemExit):
                raise
            # What is still buffered goes nowhere when Python ends.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for fd in left:
                os.dup2(nowhere, fd)
            os.close(nowhere)
            return READER_LEFT

    return wrapped


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _outputs() -> list[int]:
    found = []
    for stream in (sys.stdout, sys.stderr):
        try:
            found.append(stream.fileno())
        except (AttributeError, OSError, ValueError):
            continue  # closed, or no file
    return found


def _reader_has_left(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
