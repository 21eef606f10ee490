"""The server's filter: requests of its own page, of bounded size, and only images as uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import PlainTextResponse

from ssl_faces.apps.web.requests import Refused, is_own, read_body, replayed
from ssl_faces.apps.web.uploads import Limits, check_picture
from ssl_faces.data.pictures import BadImage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp, Receive, Scope, Send

_API = "/gradio_api"
_UPLOAD = f"{_API}/upload"
_POSTS = {_UPLOAD, *(f"{_API}/{name}" for name in ("queue/join", "cancel", "reset"))}
"""Paths that the page posts to. Gradio has more, such as calls whose results it keeps until they
are fetched."""

MOST_BODY = 1 << 14
"""Bytes of a request that is no upload; the page's have some hundred."""

_AROUND = 1 << 14  # bytes of an upload's request in addition to the file


class Gate:
    """ASGI middleware in front of Gradio, with limits of uploads."""

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
            response = PlainTextResponse(f"{refused}\n", refused.status, {"Connection": "close"})
            await response(scope, receive, send)
            return
        await self.app(scope, replayed(body, receive), send)

    async def _checked(self, scope: Scope, receive: Receive) -> bytes:
        """The body of an accepted request; others raise Refused."""
        headers = Headers(scope=scope)
        if not is_own(headers, scope["method"]):
            raise Refused(403, "this page takes no requests of another site's page")
        path = scope["path"].rstrip("/")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "give GET, HEAD or POST")
        if scope["method"] == "POST" and path not in _POSTS:
            raise Refused(404, "not offered here")
        is_upload = scope["method"] == "POST" and path == _UPLOAD
        most = self.limits.most_bytes + _AROUND if is_upload else MOST_BODY
        body = await read_body(headers, receive, most)
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
                    most = f"{self.limits.most_mb:g} MB"
                    raise Refused(413, f"exceeds the maximum allowed size of {most}")
                await run_in_threadpool(check_picture, file.file, self.limits)
        except BadImage as error:
            raise Refused(415, f"{error}; give another picture, as JPEG or PNG") from error
        finally:
            await form.close()
