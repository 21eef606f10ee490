"""The page's filter: requests of its own page, of bounded size, and only images as uploads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import PlainTextResponse

from ssl_faces.apps.web.filter import Filter, Refused, read_body, replayed
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
"""Bytes of a request that is no upload, and of one in addition to the file."""


class Gate(Filter):
    """ASGI middleware in front of Gradio, with limits of uploads."""

    def __init__(self, app: ASGIApp, limits: Limits, loopback: bool) -> None:
        super().__init__(app, loopback)
        self.limits = limits

    async def accept(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise Refused(405, "give GET, HEAD or POST")
        if scope["method"] == "POST" and path not in _POSTS:
            raise Refused(404, "not offered here")
        is_upload = scope["method"] == "POST" and path == _UPLOAD
        most = MOST_BODY + (self.limits.most_bytes if is_upload else 0)
        body = await read_body(headers, receive, most)
        if is_upload:
            await self._check_upload(headers, body)
        await self.app(scope, replayed(body, receive), send)

    def refusal(self, refused: Refused) -> PlainTextResponse:
        # Gradio shows the text of the answer.
        return PlainTextResponse(f"{refused}\n", refused.status, refused.headers)

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
