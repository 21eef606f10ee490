"""Checks of HTTP requests before an application sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Message, Receive

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Refused(Exception):
    """A refused request, with its HTTP status and further headers of the answer."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers or {}


def is_own(headers: Headers, method: str) -> bool:
    """Whether a request comes from the server's own page, or from no page (such as curl)."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    return method == "GET" and headers.get("sec-fetch-mode") == "navigate"  # a link to the page


def names_loopback(headers: Headers) -> bool:
    """Whether a request names this machine as its host: other sites' pages can reach a server on
    loopback by a host name that points here."""
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname in LOOPBACK
    except ValueError:
        return False


async def read_body(headers: Headers, receive: Receive, most: int) -> bytes:
    """The body of a request; Refused if it has more than `most` bytes or is cut short."""
    too_large = Refused(413, f"exceeds the maximum allowed size of {most:,} bytes")
    length = headers.get("content-length", "0")
    if not length.isascii() or not length.isdigit() or int(length) > most:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused(400, "cut short")
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` of a request whose body was read already."""
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
