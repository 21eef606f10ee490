"""The server of the page: on loopback by default, without outgoing requests or remaining files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_faces.apps.web import LOOPBACK
from ssl_faces.apps.web.running import run_app

if TYPE_CHECKING:
    import fastapi

    from ssl_faces.apps.demo.comparison import FaceComparison
    from ssl_faces.apps.web.uploads import Limits

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "font-src 'self' data:; worker-src 'self' blob:; object-src 'none'; frame-ancestors 'none'"
)
"""Browsers fetch nothing from other hosts, whatever Gradio's page names."""

_SETTINGS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
    "FASTAPI_OTEL_AUTO_CONFIGURE": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@contextmanager
def uploads_folder() -> Iterator[Path]:
    """A temporary folder for Gradio's uploads, removed at the end. Import Gradio within it."""
    with tempfile.TemporaryDirectory(prefix="ssl-faces-demo-") as folder:
        settings = {**_SETTINGS, "GRADIO_TEMP_DIR": folder}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def build_app(comparison: FaceComparison, limits: Limits, host: str) -> fastapi.FastAPI:
    """The page as an application; call it within `uploads_folder`."""
    import fastapi
    import gradio as gr

    from ssl_faces.apps.demo.gate import Gate
    from ssl_faces.apps.demo.page import CSS, TITLE, build_page

    app = fastapi.FastAPI(title=TITLE, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate, limits=limits, loopback=host in LOOPBACK)

    @app.middleware("http")
    async def add_policy(
        request: fastapi.Request, call_next: Callable[[fastapi.Request], object]
    ) -> fastapi.Response:
        response: fastapi.Response = await call_next(request)  # type: ignore[misc]
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return gr.mount_gradio_app(
        app,
        build_page(comparison, limits),
        path="/",
        app_kwargs={"openapi_url": None},
        max_file_size=limits.most_bytes,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
        theme=gr.themes.Default(
            font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
        ),
        css=CSS,
    )


def serve(comparison: FaceComparison, limits: Limits, host: str, port: int) -> None:
    """Serve the page until it is stopped; an unavailable address raises InputError."""
    with uploads_folder():
        run_app(build_app(comparison, limits, host), host, port)
