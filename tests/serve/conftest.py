"""Fixtures for the tests of the service."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.apps import encoder_folder
from tests.support.demo import with_probe

__all__ = ["encoder_folder", "with_probe"]

Clients = Callable[..., Any]


@pytest.fixture(scope="session")
def service(with_probe):
    """The service of an encoder with a threshold and a probe."""
    from ssl_faces.apps.serve.service import Service

    return Service(with_probe)


@pytest.fixture
def client_of(service):
    """Clients of the service, by its limits and token."""
    from starlette.testclient import TestClient

    from ssl_faces.apps.serve.app import build_app
    from ssl_faces.apps.web.guard import ServiceLimits

    opened = []

    def client(token=None, loopback=True, service=service, **limits):
        settings = {"most_mb": 0.05, "most_pixels": 50_000, **limits}
        app = build_app(service, ServiceLimits(**settings), token, loopback=loopback)
        opened.append(TestClient(app, "http://127.0.0.1:8000", raise_server_exceptions=False))
        return opened[-1].__enter__()

    yield client
    for one in opened:
        one.__exit__()
