"""Passwords within addresses: they are neither written to a run's files nor printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ssl_faces.errors import InputError

_WITHIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s/:@]*):[^\s/@]+@")


def hidden(text: str) -> str:
    """The text with `***` in the place of each password in an address, `USER:PASSWORD@`."""
    return _WITHIN.sub(r"\1:***@", text)


def refuse_passwords(settings: Any, where: str = "") -> None:
    """Look through settings that will be kept, such as nested dictionaries and lists.

    Raises:
        InputError: an address among them has a password.
    """
    for key, text in _texts(settings, where):
        if _WITHIN.search(text):
            raise InputError(
                f"{key}: {hidden(text)}: the address has a password, which would be written to the "
                "run's files; take it out, and give it by the environment (AWS_SECRET_ACCESS_KEY "
                "for s3://) or the library's own file of settings"
            )


def _texts(found: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(found, dict):
        for name, value in found.items():
            yield from _texts(value, f"{key}.{name}" if key else str(name))
    elif isinstance(found, list | tuple):
        for value in found:
            yield from _texts(value, key)
    elif isinstance(found, str):
        yield key, found
