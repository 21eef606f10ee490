"""Find passwords in addresses, to neither print nor save them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ssl_faces.common.errors import InputError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

_ADDRESS = re.compile(rf"{_SCHEME.pattern}\S+")

_USER = re.compile(r"(://[^/:@\[]*):(.+)@", re.DOTALL)
"""A user and a password of any characters, including slashes and at signs."""

_PORT = re.compile(r"\d*(/|$)")

_KEY = re.compile(
    r"([?&;](?:sig|key|auth|[^=&;]*"
    r"(?:passw|pwd|secret|token|signature|credential|api_?key|access_?key)[^=&;]*)=)[^&;#]+",
    re.IGNORECASE,
)
"""A secret key in the query of an address, such as a signed one, and its value."""


def hidden(text: str) -> str:
    """The text with `***` for passwords in addresses: `USER:PASSWORD@`, and values of keys such as
    `?password=`."""
    return _ADDRESS.sub(lambda match: _without_password(match[0]), text)


def refuse_passwords(settings: Any, where: str = "") -> None:
    """Check nested settings before they are saved. Raises InputError: an address has a password."""
    for key, text in _texts(settings, where):
        shown = _without_password(text) if _SCHEME.match(text) else hidden(text)
        if shown != text:
            raise InputError(
                f"{key}: {shown}: the address has a password, which would be written to the "
                "run's files; take it out, and give it by the environment (AWS_SECRET_ACCESS_KEY "
                "for s3://) or the library's own file of settings"
            )


def _without_password(address: str) -> str:
    return _KEY.sub(r"\1***", _USER.sub(_without_user_password, address))


def _without_user_password(match: re.Match[str]) -> str:
    host = match[1].removeprefix("://")
    # HOST:PORT/PATH@VERSION; a name without a dot may be a user, with a slash in the password.
    if _PORT.match(match[2]) and ("." in host or host == "localhost"):
        return match[0]
    return f"{match[1]}:***@"


def _texts(value: Any, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _texts(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, key)
    elif isinstance(value, str):
        yield key, value
