"""The server accepts requests of its own page, of bounded size, and only images as uploads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl_faces.apps.demo.comparison import PANELS, Compared
from ssl_faces.apps.demo.server import build_app, uploads_folder
from ssl_faces.apps.web.uploads import Limits
from tests.support.demo import NOT_PICTURES, black
from tests.support.images import encoded
from tests.support.types import Capsys

pytest.importorskip("gradio")
pytest.importorskip("starlette")

LIMITS = Limits(0.1, 50_000)
HOME = "http://127.0.0.1:7860"


class Comparison:
    """Fast, with results of some hundred kilobytes."""

    encoder_name, method, lacking, probe = "none", None, (), None

    def __call__(self, *pictures: np.ndarray, **more: object) -> Compared:
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        return Compared((noise, noise), None, None, dict.fromkeys(PANELS, (noise, noise)))


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    from starlette.testclient import TestClient

    with uploads_folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl_faces.apps.demo.page.MOST_SESSIONS", 4)
        app = build_app(Comparison(), LIMITS, "127.0.0.1")  # type: ignore[arg-type]
        with TestClient(app, base_url=HOME) as client:
            client.folder = folder
            yield client


def give(client: Any, data: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    files = {"files": ("face.png", data)}
    return client.post("/gradio_api/upload", files=files, headers=named)


def kept(client: Any) -> set[Path]:
    return {path for path in client.folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": HOME}, 200),
        ({"sec_fetch_site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}, 403),
    ],
)
def test_requests_of_other_sites_are_refused(
    client: Any, headers: dict[str, str], status: int
) -> None:
    before = kept(client)
    picture = encoded(black(20, len(before) + 20))
    assert give(client, picture, **headers).status_code == status
    assert len(kept(client) - before) == (status == 200)


def test_a_link_from_elsewhere_leads_to_the_page(client: Any) -> None:
    elsewhere = {"sec-fetch-site": "cross-site"}
    assert client.get("/", headers={**elsewhere, "sec-fetch-mode": "navigate"}).status_code == 200
    assert client.get("/config", headers=elsewhere).status_code == 403


@pytest.mark.parametrize("name", ["not what it says.jpg", "many pixels.png"])
def test_other_files_are_not_kept(client: Any, name: str) -> None:
    before = kept(client)
    refused = give(client, NOT_PICTURES[name][0])
    assert refused.status_code == 415
    assert kept(client) == before
    assert len(refused.text) < 200


def test_uploads_of_another_form(client: Any) -> None:
    before = kept(client)
    picture = ("a.png", encoded(black(20, 20)))
    large = ("a.png", encoded(black(20, 20)) + bytes(LIMITS.most_bytes))
    for request, status in (
        ({"files": [("files", picture)] * 2}, 400),
        ({"content": b"no form"}, 400),
        ({"data": {"files": "text"}}, 400),
        ({"files": {"files": large}}, 413),
        ({"content": iter([bytes(1000)] * 1000)}, 413),  # without a length
    ):
        assert client.post("/gradio_api/upload", **request).status_code == status
    assert kept(client) == before


@pytest.mark.parametrize(
    ("method", "path", "size", "status"),
    [
        ("POST", "/gradio_api/call/compare", 10, 404),
        ("POST", "/gradio_api/run/compare", 10, 404),
        ("POST", "/gradio_api/component_server", 10, 404),
        ("POST", "/gradio_api/queue/join", 20_000, 413),
        ("POST", "/gradio_api/queue/join/", 20_000, 413),
        ("GET", "/config", 20_000, 413),
        ("PUT", "/", 10, 405),
    ],
)
def test_other_requests_are_small_and_few(
    client: Any, method: str, path: str, size: int, status: int
) -> None:
    json = {"content-type": "application/json"}
    response = client.request(method, path, content=b'"' + b"a" * size + b'"', headers=json)
    assert response.status_code == status
    assert len(response.text) < 200


def _resident() -> int:
    """Bytes of memory that this process holds."""
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in x)
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc here")
def test_memory_and_terminal_stay_as_they_are(client: Any, capfd: Capsys) -> None:
    """Over 100 requests: large bodies, and comparisons whose results nobody fetches."""
    noise = np.random.default_rng(1).integers(0, 255, (100, 100, 3), dtype=np.uint8)
    data = encoded(noise)
    large = b'{"data":["' + bytes(4 << 20) + b'"]}'

    def ask(number: int) -> None:
        (path,) = give(client, data).json()
        picture = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {"data": [picture, picture, True], "fn_index": 0, "session_hash": f"s{number}"}
        joined = client.post("/gradio_api/queue/join", json=body)
        assert joined.status_code in (200, 503)  # 503: the queue is full
        for place in ("call/compare", "queue/join"):
            json = {"content-type": "application/json"}
            client.post(f"/gradio_api/{place}", content=large, headers=json)

    for number in range(10):
        ask(number)
    before = _resident()
    for number in range(10, 30):
        ask(number)
    assert _resident() - before < 6 << 20
    printed = capfd.readouterr()
    assert len(printed.out) + len(printed.err) < 2_000
