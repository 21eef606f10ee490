"""Options of an encoder behind a question mark: `NAME?key=value&flag`."""

from __future__ import annotations

from collections.abc import Collection

from ssl_faces import InputError


def split_options(text: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """What stands before the question mark, and the options by name; a flag's value is ''.

    Raises:
        InputError: an option that is not one of `known`, or one given twice.
    """
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
