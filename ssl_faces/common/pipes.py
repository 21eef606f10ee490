"""Handle output to a closed pipe, as in `ssl-faces runs | head -1`."""

from __future__ import annotations

import functools
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec

from ssl_faces.common.errors import causes

P = ParamSpec("P")

CLOSED_PIPE = 141
"""Exit code 128 + SIGPIPE, as of Unix tools."""


def exit_on_closed_pipe(main: Callable[P, int]) -> Callable[P, int]:
    """Wrap a program's `main` to end silently when its output is no longer read.

    SIGPIPE stays ignored, since it would also end a program with a closed socket. Other
    BrokenPipeErrors are raised.
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
            closed = [fd for fd in _outputs() if _reader_has_left(fd)]
            # Rich has redirected the output to /dev/null already, and exits with code 1.
            if not closed and not isinstance(error, SystemExit):
                raise
            # Discard buffered output at exit.
            devnull = os.open(os.devnull, os.O_WRONLY)
            for fd in closed:
                os.dup2(devnull, fd)
            os.close(devnull)
            return CLOSED_PIPE

    return wrapped


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _outputs() -> list[int]:
    outputs = []
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or no file
            outputs.append(stream.fileno())
    return outputs


def _reader_has_left(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
