"""The one error that means "the input is wrong": the commands print it as a sentence and exit 2."""

from __future__ import annotations

import re
from collections.abc import Iterator


class InputError(Exception):
    """Bad input. The message is one sentence that names the file or key and the mend."""


_LONGEST_WORD = 400


def shorten(text: object, length: int = 200) -> str:
    """A text on one line, cut behind the word that reaches `length` characters, with ` …` there.

    Words stay whole, so that no file name is cut; only one of over 400 characters is.
    """
    line = re.sub(r"\s*[\r\n]\s*", " ", str(text).strip())
    space = re.compile(r"\s").search(line, length)
    end = min(len(line) if space is None else space.start(), length + _LONGEST_WORD)
    return line if end == len(line) else f"{line[:end]} …"


def reason_of(error: BaseException, length: int = 200) -> str:
    """What an error of a library says, shortened; its class where it says nothing."""
    return shorten(error, length) or type(error).__name__


_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|out of memory|can't allocate memory|not enough memory: you tried"
    r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED|bad_alloc",
    re.IGNORECASE,
)


def bad_input(error: BaseException) -> str | None:
    """The message of the InputError that `error` is, or that caused it, here or in a process that
    torch started."""
    for cause in causes(error):
        if isinstance(cause, InputError):
            return str(cause)
        if _of_another_process(cause):
            told = re.search(r"^ssl_faces\.errors\.InputError: (.*)$", str(cause), re.MULTILINE)
            if told:
                return told[1]
    return None


def out_of_memory(error: BaseException) -> str | None:
    """What ran out of memory, in words, where that is what `error` or one of its causes tells.

    torch's allocators raise several kinds of errors, and one of another process comes as text.
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
    """An error and what caused it, the last first."""
    # Under `jsonargparse` and Lightning an error may arrive as the cause of another.
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def _of_another_process(error: BaseException) -> bool:
    """Whether its message is the traceback of a process that torch started."""
    return type(error).__name__ == "ProcessRaisedException"
