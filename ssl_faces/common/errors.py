"""The error for bad input (commands print one sentence and exit with 2), and causes of errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches


class InputError(Exception):
    """Bad input. The message is one sentence: the file or key, and how to fix it."""


_LONGEST_WORD = 400


def shorten(text: object, length: int = 200) -> str:
    """A text on one line, cut with ` …` after the word that reaches `length` characters.

    Words, such as file names, are not cut unless they exceed 400 characters.
    """
    line = re.sub(r"\s*[\r\n]\s*", " ", str(text).strip())
    space = re.compile(r"\s").search(line, length)
    end = min(len(line) if space is None else space.start(), length + _LONGEST_WORD)
    return line if end == len(line) else f"{line[:end]} …"


def reason_of(error: BaseException, length: int = 200) -> str:
    """The shortened message of an error; the class name if it is empty."""
    return shorten(error, length) or type(error).__name__


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean NEAREST?)`; empty if no known name is near."""
    near = get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|out of memory|can't allocate memory|not enough memory: you tried"
    r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|bad_alloc",
    re.IGNORECASE,
)


def bad_input(error: BaseException) -> str | None:
    """The message of the InputError among `error` and its causes, also from a process that torch
    started."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return str(cause)
        if _of_another_process(cause):
            pattern = rf"^{re.escape(InputError.__module__)}\.InputError: (.*)$"
            if match := re.search(pattern, str(cause), re.MULTILINE):
                return match[1]
    return None


def out_of_memory(error: BaseException) -> str | None:
    """A description if `error` or one of its causes is out of memory, otherwise None.

    torch's allocators raise several types of errors; errors of other processes are text.
    """
    for cause in causes(error):
        text = f"{type(cause).__name__}: {cause}"
        may_be = isinstance(cause, RuntimeError) or _of_another_process(cause)
        if isinstance(cause, MemoryError) or (may_be and _OUT_OF_MEMORY.search(text)):
            where = "the GPU" if re.search(r"\b(CUDA|CUBLAS|CUDNN|HIP|MPS)", text) else "the CPU"
            wanted = re.search(r"tried to allocate ([\d.]+ \w+)", text, re.IGNORECASE)
            return f"out of memory on {where}" + (f" ({wanted[1]} wanted)" if wanted else "")
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and its causes; jsonargparse and Lightning wrap errors."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of_another_process(error: BaseException) -> bool:
    """Whether the message is the traceback of a process that torch started."""
    return type(error).__name__ == "ProcessRaisedException"
