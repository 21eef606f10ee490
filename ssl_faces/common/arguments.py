"""Parsers of command-line arguments: one-sentence errors, numbers with a range."""

from __future__ import annotations

import argparse
import math
import operator
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ssl_faces.common.errors import InputError, did_you_mean, shorten
from ssl_faces.common.files import NOT_REGULAR, is_special

_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")


class OneSentence:
    """A mixin for parsers that raises `InputError` for wrong arguments."""

    prog: str
    subject = ""  # prefix of messages

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        lines = (line.strip(" -") for line in message.splitlines())
        text = shorten(" ".join(line for line in lines if line), 600)
        prog = self.prog.replace(" [options]", "")  # of Lightning's subcommands
        raise InputError(f"{self.subject}{text}; see `{prog} --help`") from ex


class Parser(OneSentence, argparse.ArgumentParser):
    """The parser of commands without a settings file.

    Attributes:
        passes_on: whether it leaves unknown options to another parser.
    """

    passes_on = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        check_words(words)
        if not self.passes_on:
            self._check_options(words)
        return super().parse_known_args(words, namespace)

    def _check_options(self, words: Sequence[str]) -> None:
        """Refuse unknown options first: argparse would only name what is missing."""
        known = [name for action in self._actions for name in action.option_strings]
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                return  # arguments, or a command with options of its own
            name = word.partition("=")[0]
            if not _OPTION.fullmatch(name) or name in known or name[:2] in known:
                continue
            if not (self.allow_abbrev and any(option.startswith(name) for option in known)):
                self.error(f"unknown option {name}{did_you_mean(name, known)}")


def check_words(words: Sequence[str]) -> None:
    """Refuse empty arguments (such as unset shell variables) and null bytes. Raises InputError:
    names the option."""
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            name, value = before if before.startswith("-") else "an argument", word
        elif not equals:
            continue
        if not value:
            raise InputError(f"{name}: empty; give a value, or leave it out")
        check_text(value, name)


def check_text(value: object, name: str) -> None:
    """Refuse null bytes in a value or in nested values. Raises InputError: names the value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            check_text(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            check_text(item, name)
    elif isinstance(value, str | Path) and "\0" in str(value):
        raise InputError(f"{name}: a null byte in {str(value)!r}; take it out")


LARGEST = 2**31 - 1


class OutOfRange(argparse.ArgumentTypeError, ValueError):
    """argparse shows messages of the first base class, pydantic those of the second."""


@dataclass(frozen=True)
class Range:
    """A finite number from `low` to `high`; converts a value or text to the number.

    Attributes:
        kind: int or float.
        above: exclude `low`.
        below: exclude `high`.
    """

    kind: type[int] | type[float]
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def __call__(self, value: Any) -> Any:
        try:
            if isinstance(value, bool):
                raise TypeError
            text = isinstance(value, str)
            number = self.kind(value) if text or self.kind is float else operator.index(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise self._refusal(value) from error
        low = number > self.low if self.above else number >= self.low
        high = number < self.high if self.below else number <= self.high
        if not (math.isfinite(number) and low and high):
            raise self._refusal(value)
        return number

    def _refusal(self, value: Any) -> OutOfRange:
        text = f"{value:g}" if isinstance(value, float) else str(value)
        shown = text if len(text) <= 40 else f"{text[:40]} …"
        return OutOfRange(f"{shown or 'nothing'}; give {self}")

    def __repr__(self) -> str:
        noun = "a whole number" if self.kind is int else "a number"
        low = f"{'above' if self.above else 'from'} {self.low:,}"
        high = f"{'below' if self.below else 'up to'} {self.high:,}"
        if math.isinf(self.low):
            return noun if math.isinf(self.high) else f"{noun} {high}"
        if math.isinf(self.high):
            return f"{noun} {low}" if self.above else f"{noun}, {self.low:,} or more"
        if self.above or self.below:
            return f"{noun} {low} and {high}"
        return f"{noun} {low} to {self.high:,}"


def whole(low: int, high: int = LARGEST) -> Range:
    """A whole number in [low, high]."""
    return Range(int, low, high)


def number(
    low: float = -math.inf, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Range:
    """A finite number; `above` and `below` exclude the ends."""
    return Range(float, low, high, above, below)


def comma_separated(of: Range) -> Callable[[str], list[Any]]:
    """Comma-separated numbers in this range."""

    def numbers(text: str) -> list[Any]:
        return [of(word.strip()) for word in text.split(",")]

    return numbers


def existing(text: str) -> Path:
    """An argument's type: the path of an existing file or folder, checked before slow imports."""
    path = Path(text)
    check_exists(path)
    return path


Place = Path | str
"""A file or folder of this machine, or the address of one in an object store."""


def as_place(text: str) -> Place:
    """A path, or an address such as `s3://bucket/folder`."""
    return text.rstrip("/") if "://" in text else Path(text)


def existing_place(text: str) -> Place:
    """As `existing`; addresses are not checked."""
    return as_place(text) if "://" in text else existing(text)


def check_exists(path: Path) -> None:
    """Raise InputError if there is no such file or folder, or it can't be looked at."""
    try:
        path.expanduser().stat()
    except OSError as error:
        name = str(path) if str(path).isprintable() else repr(str(path))
        raise InputError(f"{name}: {error.strerror}; check the path") from error


SEED = whole(0, 2**63 - 1)
SIDE = whole(8, 1024)  # of images, in pixels


def check_files(arguments: Sequence[str]) -> None:
    """Raise InputError if an argument is a pipe, a socket or a device: reading may never end."""
    for argument in arguments:
        for name in (argument, argument.partition("=")[2]):
            if is_special(name):
                raise InputError(f"{name}: is {NOT_REGULAR}; give a regular file or a folder")
