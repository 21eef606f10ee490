"""The registry of what opens an encoder by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from linear_probe.features.source import Encoder, Precision, Source


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
