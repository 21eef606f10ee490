"""What the servers of this package share: requests, uploads, running and stopping."""

from __future__ import annotations

import os
from importlib.util import find_spec

from ssl_faces.common.errors import InputError

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def need_server(extra: str) -> None:
    """Raise InputError if a package of the servers is missing, which are in this extra."""
    for package in ("fastapi", "prometheus_client", "uvicorn"):
        if find_spec(package) is None:
            raise InputError(f"the server needs {package}; pip install 'ssl-faces[{extra}]'")
    # FastAPI sends traces to wherever the environment names, unless an operator wants them.
    os.environ.setdefault("FASTAPI_OTEL_AUTO_CONFIGURE", "false")
