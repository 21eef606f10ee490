"""The front of the servers: who asks, and how much, before an application sees it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response

from ssl_faces.apps.web import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Refused(Exception):
    """A refused request, with its HTTP status and further headers of the answer."""

    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.headers = status, headers or {}

    def answer(self) -> Response:
        """One sentence as JSON."""
        return JSONResponse({"error": f"{self}."}, self.status, self.headers)


class Filter:
    """ASGI middleware that takes requests of the server's own page, or of no page (such as curl).

    Subclasses check further in `accept`, which raises `Refused` or calls `self.app`.

    Args:
        loopback: the server listens on this machine alone, and takes only requests that name it:
            other sites' pages can reach it by a host name that points here.
    """

    def __init__(self, app: ASGIApp, loopback: bool) -> None:
        self.app, self.loopback = app, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        started, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            headers = Headers(scope=scope)
            if self.loopback and not names_loopback(headers):
                raise Refused(400, "the Host header must name this machine, such as 127.0.0.1")
            if not is_own(headers, scope["method"]):
                raise Refused(403, "no requests are taken from another site's page")
            await self.accept(scope, headers, receive, watched)
        except Refused as refused:
            if status:  # an answer has begun
                raise
            # The rest of its body may still be on its way.
            refused.headers["Connection"] = "close"
            await refused.answer()(scope, receive, watched)
        finally:
            self.done(scope["path"], status or 500, time.perf_counter() - started)

    async def accept(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        raise NotImplementedError

    def done(self, path: str, status: int, seconds: float) -> None:
        """Called after each request."""


def is_own(headers: Headers, method: str) -> bool:
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    return method == "GET" and headers.get("sec-fetch-mode") == "navigate"  # a link to the page


def names_loopback(headers: Headers) -> bool:
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
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
