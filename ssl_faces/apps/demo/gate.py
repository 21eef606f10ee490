"""What the page's server lets in: requests of its own page, of bounded size, and pictures alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import PlainTextResponse

from ssl_faces.apps.demo.uploads import Limits, check_picture
from ssl_faces.data.pictures import BadPicture

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_API = "/gradio_api"
_UPLOAD = f"{_API}/upload"
_POSTS = {_UPLOAD, *(f"{_API}/{name}" for name in ("queue/join", "cancel", "reset"))}
"""What the page posts to. Gradio has more, such as calls whose results it keeps until somebody asks
for them."""

MOST_BODY = 1 << 14
"""Bytes of a request other than an upload; the page's have some hundred."""

_AROUND = 1 << 14  # bytes of an upload's request beside the file


class Refused(Exception):
    """A request that is not let in.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Gate:
    """Middleware (ASGI) in front of Gradio.

    Args:
        limits: of uploads.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        try:
            body = await self._checked(scope, receive)
        except Refused as refused:
            told = PlainTextResponse(f"{refused}\n", refused.status, {"Connection": "close"})
            await told(scope, receive, send)
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, replay, send)

    async def _checked(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that is let in.

        Raises:
            Refused: it isn't.
        """
        headers = Headers(scope=scope)
        if not _is_own(headers, scope["method"]):
            raise Refused(403, "this page takes no requests of another site's page")
        path = scope["path"].rstrip("/")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "give GET, HEAD or POST")
        if scope["method"] == "POST" and path not in _POSTS:
            raise Refused(404, "not offered here")
        is_upload = scope["method"] == "POST" and path == _UPLOAD
        most = self.limits.most_bytes + _AROUND if is_upload else MOST_BODY
        body = await _body(headers, receive, most)
        if is_upload:
            await self._check_upload(headers, body)
        return body

    async def _check_upload(self, headers: Headers, body: bytes) -> None:
        async def stream() -> AsyncGenerator[bytes, None]:
            yield body

        try:
            form = await MultiPartParser(headers, stream(), max_files=1, max_fields=0).parse()
        except (MultiPartException, KeyError, ValueError) as error:
            raise Refused(400, "not an upload of one file") from error
        try:
            if not form:
                raise Refused(400, "not an upload of one file")
            for _, file in form.multi_items():
                assert not isinstance(file, str)
                if (file.size or 0) > self.limits.most_bytes:
                    raise Refused(413, self._too_large())
                await run_in_threadpool(check_picture, file.file, self.limits)
        except BadPicture as error:
            raise Refused(415, f"{error}; give another picture, as JPEG or PNG") from error
        finally:
            await form.close()

    def _too_large(self) -> str:
        return f"exceeds the maximum allowed size of {self.limits.most_mb:g} MB"


def _is_own(headers: Headers, method: str) -> bool:
    """Whether a request comes from the page itself, or from what is no page (such as curl)."""
    origin = headers.get("origin")
    if origin is not None:
        return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()
    if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
        return True
    return method == "GET" and headers.get("sec-fetch-mode") == "navigate"  # a link to the page


async def _body(headers: Headers, receive: Receive, most: int) -> bytes:
    """All of a request's body.

    Raises:
        Refused: it is larger than `most` bytes, or its sender is gone.
    """
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
