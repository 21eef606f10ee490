"""The service's filter: who asks, how much, how many at once, and for how long."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from ssl_faces.apps.serve.limits import ServiceLimits
from ssl_faces.apps.serve.metrics import Metrics
from ssl_faces.apps.web.requests import Refused, is_own, names_loopback, read_body, replayed

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

OPEN = ("/", "/docs", "/health", "/openapi.json")
"""Paths that need no token."""

MOST_BODY = 1 << 12
"""Bytes of a request that has no images."""


def refusal(refused: Refused) -> JSONResponse:
    """The answer to a refused request: one sentence as JSON."""
    return JSONResponse({"error": f"{refused}."}, refused.status, refused.headers)


class Guard:
    """ASGI middleware in front of the service.

    Args:
        token: that requests must bear; None asks for none.
        paths: that exist, for the metrics.
        loopback: the service listens on this machine alone, and takes only requests that name it.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ServiceLimits,
        token: str | None,
        metrics: Metrics,
        paths: Collection[str],
        loopback: bool,
    ) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics
        self.paths, self.loopback = paths, loopback
        self._bearer = None if token is None else f"Bearer {token}".encode()
        self._in_flight = 0

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
            await self._answer(scope, receive, watched)
        except Refused as refused:
            if status:  # an answer has begun
                raise
            # The rest of its body may still be on its way.
            refused.headers["Connection"] = "close"
            await refusal(refused)(scope, receive, watched)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.requests.labels(path, str(status or 500)).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        self._check_sender(scope, headers)
        if scope["method"] != "POST":
            body = await self._body(headers, receive, MOST_BODY)
            await self.app(scope, replayed(body, receive), send)
            return
        if self._in_flight >= self.limits.queue:
            raise Refused(
                429,
                f"{self.limits.queue} requests are in progress, and no more are taken; try again "
                "later",
                {"Retry-After": "1"},
            )
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            body = await self._body(headers, receive, self.limits.most_bytes)
            try:
                async with asyncio.timeout(self.limits.seconds):
                    await self.app(scope, replayed(body, receive), send)
            except TimeoutError as error:
                raise Refused(
                    503,
                    f"takes longer than {self.limits.seconds:g} seconds; give smaller or fewer "
                    "images, or try again later",
                    {"Retry-After": "5"},
                ) from error
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)

    def _check_sender(self, scope: Scope, headers: Headers) -> None:
        if self.loopback and not names_loopback(headers):
            raise Refused(400, "the Host header must name this machine, such as 127.0.0.1")
        if not is_own(headers, scope["method"]):
            raise Refused(403, "no requests are taken from another site's page")
        if self._bearer is None or scope["path"] in OPEN:
            return
        given = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        if not hmac.compare_digest(given, self._bearer):
            raise Refused(
                401,
                "a token is needed, and this request has none or another; give the header "
                "Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )

    async def _body(self, headers: Headers, receive: Receive, most: int) -> bytes:
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await read_body(headers, receive, most)
        except TimeoutError as error:
            raise Refused(
                408, f"the request did not arrive within {self.limits.seconds:g} seconds"
            ) from error
