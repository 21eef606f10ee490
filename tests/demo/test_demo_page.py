"""The page without a browser: answers, refusals, and nothing from elsewhere."""

import base64
import html
import io
import re
import socket

import numpy as np
import pytest
from PIL import Image

from ssl_faces.apps.web.uploads import Limits, read_upload
from tests.support.commands import refusal, run
from tests.support.demo import NOT_PICTURES, black
from tests.support.images import BAD_FILES, encoded, rendered
from tests.support.refusals import message_of

for package in ("fastapi", "httpx", "prometheus_client"):
    pytest.importorskip(package)
LIMITS = Limits(0.1, 1_000_000)
HOME = "http://127.0.0.1:7860"


@pytest.fixture
def client(comparison):
    from starlette.testclient import TestClient

    from ssl_faces.apps.demo.app import build_app

    with TestClient(build_app(comparison, LIMITS, loopback=True), base_url=HOME) as client:
        yield client


def request(*files, whole=False):
    images = [None if data is None else base64.b64encode(data).decode() for data in files]
    return {"images": images, "whole": whole}


def test_an_answer_shows_the_comparison(comparison):
    from ssl_faces.apps.demo.app import answer

    pictures = rendered(2)
    found = comparison(pictures[0], pictures[1])
    text = answer(comparison, LIMITS, *map(encoded, pictures))
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


def test_wrong_pictures_get_one_sentence_on_the_page(comparison, capsys):
    from ssl_faces.apps.demo.app import answer

    face = encoded(rendered(1)[0])
    for second, message in (
        (None, "Face B: no picture yet"),
        (b"no picture", "Face B: no picture or video of a known kind"),
    ):
        text = answer(comparison, LIMITS, face, second)
        assert text.count("<p ") == 1
        assert f'<p role="alert">{message}' in text
        assert "Traceback" not in text
    capsys.readouterr()

    class Broken:
        def __call__(self, *given, **more):
            raise RuntimeError("<secret>")

    text = answer(Broken(), LIMITS, face, face)
    assert "these pictures could not be compared" in text.lower()
    assert "secret" not in html.unescape(text)


def test_two_faces_are_compared(client, tmp_path):
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert re.search(r"'nonce-([^']+)'", policy)[1] in page.text
    assert not re.search(r'(src|href)="(?!data:)', page.text)
    files = list(map(encoded, rendered(2)))
    answered = client.post("/compare", json=request(*files, whole=True))
    assert answered.status_code == 200
    assert 'id="similarity"' in answered.text
    answered = client.post("/compare", json=request(files[0], None))
    assert "Face B: no picture yet" in answered.text
    data, message = NOT_PICTURES["bomb.png"]
    assert message in client.post("/compare", json=request(files[0], data)).text


def test_other_requests_are_refused(client):
    large = black(20, 20).tobytes() + bytes(2 * LIMITS.most_bytes)
    for status, words, more in (
        (403, {}, {"headers": {"origin": "http://evil.example"}}),
        (403, {}, {"headers": {"sec-fetch-site": "cross-site"}}),
        (400, {}, {"headers": {"host": "evil.example"}}),
        (400, {"images": ["***", None]}, {}),
        (400, {"images": [None]}, {}),
        (413, request(large, large), {}),
    ):
        body = {**request(None, None), **words}
        assert client.post("/compare", json=body, **more).status_code == status
    assert client.get("/docs").status_code == 404


def test_a_port_in_use(with_probe, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        message = refusal(capsys, "demo", "--encoder", with_probe, "--port", port)
    assert f"--port {port}: can't be listened" in message


def test_a_public_host_gives_a_warning(with_probe, monkeypatch, capsys):
    served = []
    built = []
    monkeypatch.setattr("ssl_faces.apps.web.running.run_app", lambda *args: served.append(args))
    monkeypatch.setattr("ssl_faces.apps.demo.app.build_app", lambda *args: built.append(args))
    assert run("demo", "--encoder", with_probe) == 0
    assert "warning" not in capsys.readouterr().err
    # The encoder has no networks that edit faces; the released method has.
    assert built[0][0].method.name == "facecycle_identity"
    assert run("demo", "--encoder", with_probe, "--host", "0.0.0.0") == 0
    assert "warning: --host 0.0.0.0: whoever can reach this machine" in capsys.readouterr().err
    assert [args[1:] for args in built] == [(Limits(), True), (Limits(), False)]
    assert [args[1:] for args in served] == [("127.0.0.1", 7860), ("0.0.0.0", 7860)]


@pytest.mark.parametrize("command", ["demo", "serve"])
def test_without_fastapi(command, monkeypatch, capsys):
    monkeypatch.setattr("ssl_faces.apps.web.find_spec", lambda name: None)
    assert f"pip install 'ssl-faces[{command}]'" in refusal(capsys, command)


WRONG = NOT_PICTURES | {"one.png": BAD_FILES["one.png"], "cut.jpg": BAD_FILES["cut.jpg"]}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_uploads(name):
    data, message = WRONG[name]
    sentence = message_of(read_upload, data, "face A", Limits(0.05, 50_000))
    assert sentence.startswith("face A: ")
    assert message in sentence
    assert "; give " in sentence
    assert "\n" not in sentence
    assert "face B: no picture yet" in message_of(read_upload, None, "face B", Limits())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_within_the_limits(kind):
    pixels = black(48, 64) + 3 * np.arange(64, dtype=np.uint8)[:, None, None]
    data = encoded(pixels, kind, **({} if kind == "JPEG" else {"lossless": True}))
    upload = read_upload(data, "face A", Limits(len(data) / 2**20, 64 * 48))
    assert upload.shape == (64, 48, 3)
    assert np.abs(upload.astype(int) - pixels).max() <= (6 if kind == "JPEG" else 0)
