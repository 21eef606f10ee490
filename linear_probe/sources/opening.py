"""What opens an encoder by its name, and options behind a question mark: `NAME?key=value&flag`."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from linear_probe.features.source import Encoder, Precision, Source
from ssl_faces import InputError


def split_options(text: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """What stands before the question mark, and the options by name; a flag's value is ''.
    InputError for an unknown option, or one given twice."""
    base, _, query = text.partition("?")
    options: dict[str, str] = {}
    for part in query.split("&") if query else []:
        key, _, value = part.partition("=")
        if key not in known:
            raise InputError(f"{text}: unknown option '{key}'; there are {', '.join(known)}")
        if key in options:
            raise InputError(f"{text}: option '{key}' stands twice; give it once")
        options[key] = value
    return base, options


def numbers_in(text: str, options: Mapping[str, str], option: str) -> tuple[float, ...] | None:
    """One number or three; None where the option is missing; InputError for others."""
    value = options.get(option)
    if value is None:
        return None
    try:
        numbers = tuple(float(part) for part in value.split(","))
        if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
            raise ValueError
    except ValueError:
        raise InputError(
            f"{text}: {option} must be one number or three with commas, not '{value}'"
        ) from None
    return numbers


def side_in(text: str, options: Mapping[str, str]) -> int | None:
    """The side of images, `size`; None where it is missing; InputError if it is no whole number
    from 1."""
    value = options.get("size")
    if value is not None and not (value.isascii() and value.isdigit() and int(value)):
        raise InputError(f"{text}: size must be a whole number from 1, not {value}")
    return None if value is None else int(value)


def spaces_in(options: Mapping[str, str]) -> tuple[str, ...]:
    """The feature spaces of `features`, with commas between them."""
    return tuple(name for name in options.get("features", "").split(",") if name)


class Opened(NamedTuple):
    """A source, and what makes the same encoder untrained of a seed, where there is such a one."""

    source: Source
    untrained: Callable[[int], Encoder] | None = None


KINDS: dict[Callable[[str], bool], Callable[[str, Precision], Opened]] = {}
"""Kinds of encoders: whether one is named, and what opens it."""


def opens(recognises: Callable[[str], bool]) -> Callable[..., Any]:
    """Register the decorated function of a name and a precision, which opens the encoders of a
    kind, by whether a name is one of theirs; in a file of this folder."""

    def register(opener: Callable[[str, Precision], Opened]) -> Callable[[str, Precision], Opened]:
        KINDS[recognises] = opener
        return opener

    return register
