"""Run an application until Ctrl-C, SIGTERM or a closed terminal."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ssl_faces.common.children import Stopped
from ssl_faces.common.errors import InputError


def run_app(app: Any, host: str, port: int, connections: int = 64, grace: int = 2) -> None:
    """Serve an ASGI application until it is stopped, and print its address.

    Args:
        port: 0 is any free one.
        connections: at once; more are answered by status 503.
        grace: seconds for requests in progress when it is stopped.

    Raises:
        InputError: the address is not available.
    """
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Connections that a client still holds are closed, which is no error.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            super().handle_exit(sig, frame)

    settings = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        limit_concurrency=connections,
        timeout_graceful_shutdown=grace,
    )
    try:
        socket = settings.bind_socket()
    except SystemExit as error:  # uvicorn's reaction to an unavailable address
        raise InputError(
            f"--host {host} --port {port}: can't be listened on; give another --port"
        ) from error
    try:
        server = Server(settings)
        with _hang_up_ends(server):
            socket.listen()  # early requests wait for the server
            name = f"[{host}]" if ":" in host else host
            print(f"http://{name}:{socket.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
            server.run([socket])
    finally:
        socket.close()


@contextmanager
def _hang_up_ends(server: Any) -> Iterator[None]:
    """Let a closed terminal end the server as Ctrl-C and SIGTERM do, which uvicorn handles."""

    def stop(number: int, frame: FrameType | None) -> None:
        if server.should_exit:  # uvicorn raises the signal again when it has ended
            raise Stopped(number)
        server.handle_exit(number, frame)

    before = signal.getsignal(signal.SIGHUP)
    if before is not signal.SIG_IGN:  # by `nohup`
        signal.signal(signal.SIGHUP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)
