"""Limits of the service."""

from __future__ import annotations

from dataclasses import dataclass

from ssl_faces.apps.web.uploads import Limits

MOST_IMAGES = 64
"""In one request."""

MOST_MATCHES = 100
"""Of one face, in a search."""


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
