"""Figures of the running service, for Prometheus."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FACES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Requests, their times, batches, and this process's memory and CPU time."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        of = self._registry
        self.requests = Counter(
            "ssl_faces_requests", "Requests by path and status", ["path", "status"], registry=of
        )
        self.seconds = Histogram(
            "ssl_faces_request_seconds",
            "Time of a request, with its body's arrival",
            ["path"],
            buckets=_SECONDS,
            registry=of,
        )
        self.in_flight = Gauge("ssl_faces_requests_in_flight", "Requests at once", registry=of)
        self.batches = Histogram(
            "ssl_faces_batch_faces", "Faces per pass of the encoder", buckets=_FACES, registry=of
        )

    def text(self) -> bytes:
        """All of them in Prometheus's format."""
        return generate_latest(self._registry)
