"""The page without a browser: answers, refusals, and no remaining files."""

from __future__ import annotations

import asyncio
import base64
import html
import io
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_faces.apps.demo.comparison import FaceComparison
from ssl_faces.apps.demo.server import build_app, uploads_folder
from ssl_faces.apps.web.uploads import Limits
from tests.support.commands import refusal, run
from tests.support.images import encoded, rendered, write_all
from tests.support.types import Capsys, Patch

pytest.importorskip("gradio")
LIMITS = Limits(0.1, 1_000_000)


@pytest.fixture
def uploads(monkeypatch: Patch) -> Iterator[Path]:
    """The folder, while nothing is reached but this machine."""
    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        assert self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1"), address
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local)
    with uploads_folder() as folder:
        yield folder


def test_an_answer_shows_the_comparison(comparison: FaceComparison, tmp_path: Path) -> None:
    from ssl_faces.apps.demo.page import answer

    pictures = rendered(2)
    paths = write_all(tmp_path, pictures)
    found = comparison(pictures[0], pictures[1])
    text = answer(comparison, LIMITS, paths[0], paths[1])
    assert found.similarity is not None
    assert f'<strong id="similarity">{found.similarity.value:.3f}</strong>' in text
    side = "above" if found.similarity.value >= 0.25 else "below"
    assert f"{found.similarity.value:.3f} is {side} the threshold 0.250" in text
    assert "right in 61.2 % [58.0, 64.5] of 900 pairs of LFW (chance: 50 %)" in text
    assert "does not show whether two pictures are of one person" in text
    # Nothing looks like a verdict.
    assert re.findall("<strong[^>]*>([^<]*)", text) == [f"{found.similarity.value:.3f}"]
    assert "same person" not in text
    assert "right in 48.1 % [46.0, 50.0] of 3,589 test pictures of FER-2013" in text
    assert "off by 2.5 points" in text
    # Names are escaped.
    assert "<b>glad" not in text
    assert found.probabilities is not None
    for name, shares in zip(
        ("calm", "&lt;b&gt;glad&lt;/b&gt;", "sad"), found.probabilities.T, strict=True
    ):
        row = re.search(f'<th scope="row">{re.escape(name)}</th>(.*?)</tr>', text)
        assert row
        shown = [float(share) for share in re.findall(r"</meter> ([\d.]+) %", row[1])]
        assert shown == pytest.approx(100 * shares, abs=0.051)
    panels = re.findall(
        r'data-panel="([^"]+)"><img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', text
    )
    assert [name for name, _, _ in panels] == 2 * ["face", *found.panels]
    assert len({alt for _, _, alt in panels}) == len(panels)
    for i, (name, data, _) in enumerate(panels):
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
        which = i // (len(panels) // 2)
        pixels = found.faces[which] if name == "face" else found.panels[name][which]
        large = Image.fromarray(pixels).resize((128, 128), Image.Resampling.BICUBIC)
        assert np.array_equal(shown, np.asarray(large)), name


def test_wrong_pictures_get_one_sentence_on_the_page(
    comparison: FaceComparison, tmp_path: Path, monkeypatch: Patch, capsys: Capsys
) -> None:
    from ssl_faces.apps.demo.page import answer

    (face,) = write_all(tmp_path, rendered(1))
    (tmp_path / "text").write_text("no picture")
    for second, message in (
        (None, "Face B: no picture yet"),
        (tmp_path / "text", "Face B: no picture or video of a known kind"),
    ):
        text = answer(comparison, LIMITS, face, second)
        assert text.count("<p ") == 1
        assert f'<p role="alert">{message}' in text
        assert "Traceback" not in text
    capsys.readouterr()

    class Broken:
        def __call__(self, *given: object, **more: object) -> None:
            raise RuntimeError("<secret>")

    text = answer(Broken(), LIMITS, face, face)  # type: ignore[arg-type]
    assert "these pictures could not be compared" in text.lower()
    assert "secret" not in html.unescape(text)


def test_served_on_loopback_with_no_way_out(comparison: FaceComparison, uploads: Path) -> None:
    from starlette.testclient import TestClient

    app = build_app(comparison, LIMITS, "127.0.0.1")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        page = client.get("/")
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy
        assert not re.search(r'<(script|link)[^>]*(src|href)="(https?:)?//', page.text)
        assert client.get("/", headers={"host": "evil.example"}).status_code == 400
        for place in ("/docs", "/openapi.json", "/gradio_api/mcp/", "/monitoring/summary"):
            assert client.get(place).status_code in (401, 403, 404), place
        settings = client.get("/config").json()
        assert not settings["analytics_enabled"]
        assert settings["footer_links"] == []
        assert settings.get("run_history") in (False, None)
        picture = encoded(np.zeros((20, 20, 3), np.uint8))
        large = picture.ljust(LIMITS.most_bytes + 1, b"0")
        refused = client.post("/gradio_api/upload", files={"files": ("a.png", large)})
        assert refused.status_code == 413
        kept = client.post("/gradio_api/upload", files={"files": ("a.png", large[:-1])})
        (path,) = kept.json()
        assert Path(path).is_relative_to(uploads)
        assert client.get(f"/gradio_api/file={Path(__file__)}").status_code == 403
    # Nothing was written beside the sources.
    assert not list((Path(__file__).parents[2] / "ssl_faces/apps/demo").glob("*.pyi"))


def test_only_uploads_are_read(uploads: Path) -> None:
    from ssl_faces.apps.demo.page import upload

    picture = upload("A")
    (uploads / "mine.png").write_bytes(b"")
    inside = picture.preprocess(SimpleNamespace(path=str(uploads / "mine.png")))
    assert inside == (uploads / "mine.png").resolve()
    assert picture.preprocess(None) is None
    (uploads / "link.png").symlink_to("/etc/hostname")
    for place in ("/etc/hostname", f"{uploads}/../x.png", "http://127.0.0.1/x.png", "link.png"):
        found = picture.preprocess(SimpleNamespace(path=place))
        assert not found.exists(), place
    # An address is handed on as it is, not fetched.
    address = "http://127.0.0.1:1/x.png"
    assert asyncio.run(picture.async_move_resource_to_block_cache(address)) == address


def test_uploads_are_removed_at_the_end() -> None:
    with uploads_folder() as folder:
        (folder / "a").mkdir()
        (folder / "a/face.png").write_bytes(b"face")
    assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), uploads_folder() as folder:  # noqa: PT012
        (folder / "face.png").write_bytes(b"face")
        raise KeyboardInterrupt
    assert not folder.exists()


def test_a_port_in_use(with_probe: Path, capsys: Capsys) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refusal(capsys, "demo", "--encoder", with_probe, "--port", port)
    assert f"--port {port}: can't be listened" in message


def test_a_public_host_gives_a_warning(
    with_probe: Path, monkeypatch: Patch, capsys: Capsys
) -> None:
    served: list[tuple[Any, ...]] = []
    monkeypatch.setattr("ssl_faces.apps.demo.server.serve", lambda *args: served.append(args))
    assert run("demo", "--encoder", with_probe) == 0
    assert "warning" not in capsys.readouterr().err
    # The encoder has no networks that edit faces; the released method has.
    assert served[0][0].method.name == "facecycle_identity"
    assert run("demo", "--encoder", with_probe, "--host", "0.0.0.0") == 0
    assert "warning: --host 0.0.0.0: whoever can reach this machine" in capsys.readouterr().err
    assert [args[1:] for args in served] == [
        (Limits(), "127.0.0.1", 7860),
        (Limits(), "0.0.0.0", 7860),
    ]


def test_without_gradio(monkeypatch: Patch, capsys: Capsys) -> None:
    monkeypatch.setattr("ssl_faces.apps.demo.command.find_spec", lambda name: None)
    assert "pip install 'ssl-faces[demo]'" in refusal(capsys, "demo")
