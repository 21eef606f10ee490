"""What guards both servers: who asks, how much, how many at once, how long; and their failures."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ssl_faces.apps.web.filter import Filter, Refused, read_body, replayed
from ssl_faces.apps.web.uploads import Limits
from ssl_faces.common.errors import InputError, out_of_memory

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = ("/", "/docs", "/health", "/openapi.json")
"""Paths that need no token."""

MOST_BODY = 1 << 12
"""Bytes of a request that has no images."""

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FACES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class ServiceLimits(Limits):
    """Limits of one request (`most_mb` of its body, `most_pixels` of all its images), and of all.

    Attributes:
        queue: requests at once; more are answered by status 429.
        seconds: of one request: to arrive, and then to be answered.
        batch: faces that the encoder takes at once.
    """

    queue: int = 64
    seconds: float = 30.0
    batch: int = 32


class Metrics:
    """Requests, their times, batches, and this process's memory and CPU time, for Prometheus."""

    def __init__(self) -> None:
        self.registry = of = CollectorRegistry()
        ProcessCollector(registry=of)
        self.requests = Counter(
            "ssl_faces_requests", "Requests by path and status", ["path", "status"], registry=of
        )
        about = "Time of a request, with its body's arrival"
        self.seconds = Histogram(
            "ssl_faces_request_seconds", about, ["path"], buckets=_SECONDS, registry=of
        )
        self.in_flight = Gauge("ssl_faces_requests_in_flight", "Requests at once", registry=of)
        self.batches = Histogram(
            "ssl_faces_batch_faces", "Faces per pass of the encoder", buckets=_FACES, registry=of
        )


class Guard(Filter):
    """ASGI middleware in front of a server.

    Args:
        token: that requests must bear; None asks for none.
        paths: that exist, for the metrics.
        loopback: see `Filter`.
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
        super().__init__(app, loopback)
        self.limits, self.metrics, self.paths = limits, metrics, paths
        self._bearer = None if token is None else f"Bearer {token}".encode()
        self._free = asyncio.Semaphore(limits.queue)

    async def accept(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        self._check_token(scope)
        if scope["method"] != "POST":
            body = await self._body(headers, receive, MOST_BODY)
            await self.app(scope, replayed(body, receive), send)
            return
        seconds, queue = self.limits.seconds, self.limits.queue
        if self._free.locked():
            reason = f"{queue} requests are in progress, and no more are taken; try again later"
            raise Refused(429, reason, {"Retry-After": "1"})
        async with self._free:
            with self.metrics.in_flight.track_inprogress():
                body = await self._body(headers, receive, self.limits.most_bytes)
                try:
                    async with asyncio.timeout(seconds):
                        await self.app(scope, replayed(body, receive), send)
                except TimeoutError as error:
                    mend = "give smaller or fewer images, or try again later"
                    reason = f"takes longer than {seconds:g} seconds; {mend}"
                    raise Refused(503, reason, {"Retry-After": "5"}) from error

    def done(self, path: str, status: int, seconds: float) -> None:
        path = path if path in self.paths else "other"
        self.metrics.requests.labels(path, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)

    def _check_token(self, scope: Scope) -> None:
        if self._bearer is None or scope["path"] in OPEN:
            return
        token = next((v for k, v in scope["headers"] if k == b"authorization"), b"")
        if not hmac.compare_digest(token, self._bearer):
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
            reason = f"the request did not arrive within {self.limits.seconds:g} seconds"
            raise Refused(408, reason) from error


def add_failures(app: FastAPI) -> None:
    """Answer each failure of an application in one sentence."""
    for kind in (Refused, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _failed)


async def _failed(request: Request, error: Exception) -> Response:
    """The answer to a request that fails, in one sentence."""
    if isinstance(error, Refused):
        return error.answer()
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return Refused(422, f"{first['loc'][-1]}: {first['msg']}").answer()
    if isinstance(error, HTTPException):
        reasons = {404: "no such path", 405: "another method is needed"}
        reason = reasons.get(error.status_code, str(error.detail))
        return Refused(error.status_code, reason, dict(error.headers or {})).answer()
    if out_of_memory(error) is not None:
        mend = "there is not enough memory; give smaller or fewer images"
        return Refused(503, mend, {"Retry-After": "5"}).answer()
    reason = str(error) if isinstance(error, InputError) else "see the service's output"
    return Refused(500, f"the service failed: {reason}").answer()
