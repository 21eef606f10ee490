"""The service: the package's own results, and one sentence for whatever is wrong."""

import asyncio
import base64
import json
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_faces import InputError, embed, load_encoder, load_probe
from ssl_faces.apps.embedding import cosines
from ssl_faces.encoders.encoder import update_card
from tests.support.commands import run
from tests.support.demo import CLASSES, NOT_PICTURES
from tests.support.images import BAD_FILES, detect_holes, encoded, photo, rendered, write_all

for package in ("fastapi", "httpx", "prometheus_client"):
    pytest.importorskip(package)

TOKEN = "a token of tests".replace(" ", "-")
FACES = rendered(3)
PNG = {"content-type": "image/png"}


def as_json(*images):
    return {"images": [base64.b64encode(image).decode() for image in images]}


def error(response, status):
    """The one sentence of a refusal."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    (sentence,) = response.json().values()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert len(sentence) < 400
    return str(sentence)


def test_codes_similarity_and_probabilities(client_of, with_probe):
    client = client_of()
    encoder, probe = load_encoder(with_probe), load_probe(with_probe)
    codes = embed(encoder, [*FACES])
    images = as_json(*map(encoded, FACES))
    answer = client.post("/embed", json=images).json()
    assert [face["image"] for face in answer["faces"]] == [0, 1, 2]
    assert answer["faces"][0]["box"] is None
    for i, face in enumerate(answer["faces"]):
        assert set(face["codes"]) == set(encoder.feature_dims)
        for space, values in face["codes"].items():
            torch.testing.assert_close(torch.tensor(values), codes[space][i], atol=1e-5, rtol=1e-4)
    (face,) = client.post("/embed?spaces=identity", content=encoded(FACES[1]), headers=PNG).json()[
        "faces"
    ]
    assert list(face["codes"]) == ["identity"]
    assert face["codes"]["identity"] == pytest.approx(codes["identity"][1].tolist(), abs=1e-5)

    answer = client.post("/verify", json=as_json(*map(encoded, FACES[:2]))).json()
    mean = torch.tensor(encoder.card["verification"]["mean"])
    expected = float(cosines(codes["identity"][:1], codes["identity"][1:2], mean))
    assert answer["similarity"] == pytest.approx(expected, abs=1e-4)
    assert answer["threshold"] == 0.25
    assert answer["above"] == (expected >= 0.25)
    assert "right in 61.2 % [58.0, 64.5] of 900 pairs of LFW (chance: 50 %)" in answer["meaning"]
    assert "does not show whether two pictures are of one person" in answer["meaning"]

    answer = client.post("/expressions", json=images).json()
    for face, row in zip(answer["faces"], probe(codes["expression"]).tolist(), strict=True):
        assert list(face["probabilities"]) == list(CLASSES)
        assert list(face["probabilities"].values()) == pytest.approx(row, abs=1e-4)
    assert answer["accuracy"]["value"] == 48.123


def test_faces_are_found_in_an_index(client_of, with_probe, tmp_path):
    pytest.importorskip("faiss")
    from ssl_faces.apps.serve.service import Service

    folder = shutil.copytree(with_probe, tmp_path / "encoder")
    rate = {"value": 30.0, "low": 20.0, "high": 40.0}
    rates = [{"gallery": 10, "n": 90, "rank_1": rate, "fpir": rate}]
    entry = {"space": "identity", "mean": [0.1] * 6, "threshold": 0.5, "distance": 0.3}
    update_card(folder, identification={**entry, "chosen_on": "a test", "rates": rates})
    write_all(tmp_path / "faces", rendered(8))
    words = ("--encoder", folder, "--detect", "never", "--out", tmp_path / "index")
    assert run("search", "index", tmp_path / "faces", *words) == 0
    client = client_of(service=Service(folder, index=tmp_path / "index"))
    assert client.get("/health").json()["searched"] == 8
    codes = embed(load_encoder(folder), [*rendered(8)], spaces=["identity"])["identity"]
    values = cosines(codes[:3], codes, torch.full((6,), 0.1, dtype=torch.float64))
    answer = client.post("/search?nearest=3", json=as_json(*map(encoded, FACES))).json()
    for i, face in enumerate(answer["faces"]):
        best = values[i].topk(3)
        assert face["image"] == i
        assert [match["key"] for match in face["matches"]] == [
            f"faces/face {row}.png" for row in best.indices.tolist()
        ]
        found = [match["similarity"] for match in face["matches"]]
        assert found == pytest.approx(best.values.tolist(), abs=1e-4)
        assert [match["above"] for match in face["matches"]] == [v >= 0.5 for v in found]
    assert answer["threshold"] == 0.5
    assert "the right person comes first for 30.0 % [20.0, 40.0]" in answer["meaning"]
    images = as_json(encoded(FACES[0]))
    assert len(client.post("/search?nearest=100", json=images).json()["faces"][0]["matches"]) == 8
    assert "nearest: " in error(client.post("/search?nearest=101", json=images), 422)
    # Codes of other weights can't be compared.
    with pytest.raises(InputError, match="was made by other weights than"):
        Service("hybrid", index=tmp_path / "index")
    with pytest.raises(InputError, match="no whole index"):
        Service(folder, index=tmp_path / "faces")


@pytest.fixture(name="detecting")
def _detecting(client_of, service, monkeypatch):
    monkeypatch.setattr("ssl_faces.apps.face_finder.open_detector", lambda *_: detect_holes)
    for finder in service._finders.values():
        monkeypatch.setattr(finder, "_open", None)
    return client_of(most_mb=1.0, most_pixels=200_000)


def test_all_faces_of_a_photograph(detecting):
    picture = encoded(photo((40, 30, 90), (200, 100, 60)))
    for which, boxes in (
        ("largest", [[40, 30, 130, 120]]),
        ("all", [[40, 30, 130, 120], [200, 100, 260, 160]]),
    ):
        answer = detecting.post(f"/embed?faces={which}", content=picture, headers=PNG).json()
        assert [face["box"] for face in answer["faces"]] == boxes
        assert {face["image"] for face in answer["faces"]} == {0}
    nobody = encoded(photo())
    sentence = error(detecting.post("/embed", content=nobody, headers=PNG), 422)
    assert sentence == (
        "image 0: no face found; give a photograph with a face, or detect=never if it is a face "
        "crop."
    )
    assert detecting.post("/embed?detect=never", content=nobody, headers=PNG).status_code == 200


BAD = {
    "text.png": (NOT_PICTURES["not what it says.jpg"][0], 415, "image 0: no picture"),
    "cut in its head.jpg": (BAD_FILES["cut.jpg"][0], 415, "image 0: truncated"),
    "cut.jpg": (encoded(FACES[0].repeat(4, 0).repeat(4, 1), "JPEG")[:-300], 422, "truncated"),
    "bomb.png": (NOT_PICTURES["bomb.png"][0], 413, "pixels"),
    "many pixels.png": (NOT_PICTURES["many pixels.png"][0], 413, "300 x 200 pixels are more than"),
    "one.png": (BAD_FILES["one.png"][0], 422, "a side below 8 pixels"),
    "zip": (BAD_FILES["bomb.zip"][0], 415, "an archive"),
    "nothing": (b"", 415, "empty (0 bytes)"),
    "many bytes": (bytes(60_000), 413, "52,429 bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_images(client_of, name):
    data, status, message = BAD[name]
    client = client_of()
    assert message in error(client.post("/embed", content=data, headers=PNG), status)
    if len(data) < 30_000:
        good = encoded(FACES[0])
        response = client.post("/verify", json=as_json(good, data))
        assert message.replace("image 0", "image 1") in error(response, status)


DEEP = b'{"images":' + b"[" * 20_000


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b"{", "application/json", 400, "broken JSON"),
        (DEEP, "application/json", 400, "broken JSON"),
        (b'{"images": ["***"]}', "application/json", 400, "no base64"),
        (b"[]", "application/json", 422, "the body"),
        (b'{"images": []}', "application/json", 422, "images"),
        (b'{"images": [1]}', "application/json", 422, "images.0"),
        (b'{"images": ["aaaa"], "' + b"k" * 3000 + b'": 1}', "application/json", 422, "not permit"),
        (json.dumps({"images": ["a"] * 65}).encode(), "application/json", 413, "64 items"),
        (b" " * 60_000 + b"{}", "application/json", 413, "52,429 bytes"),
        (b"hello", "text/plain", 415, "the content type text/plain is not taken"),
        (b"hello", "", 415, "the content type (none) is not taken"),
    ],
)
def test_bad_bodies(client_of, content, kind, status, message):
    headers = {"content-type": kind}
    response = client_of().post("/embed", content=content, headers=headers)
    assert message in error(response, status)


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/embed?spaces=smile", 422, "no feature space 'smile'; there is"),
        ("POST", "/embed?faces=some", 422, "faces: "),
        ("POST", "/embed?detect=" + "x" * 2000, 422, "detect: "),
        ("POST", "/embed?space=identity", 422, "space: /embed takes spaces, faces, detect"),
        ("GET", "/health?a=1", 422, "a: /health takes no parameters"),
        ("POST", "/verify", 422, "images: 1; give two"),
        ("POST", "/nowhere", 404, "no such path"),
        ("GET", "/embed", 405, "another method"),
        ("DELETE", "/health", 405, "another method"),
        ("GET", "/../../etc/passwd", 404, "no such path"),
    ],
)
def test_bad_requests(client_of, method, path, status, message):
    content = encoded(FACES[0]) if method == "POST" else None
    response = client_of().request(method, path, content=content, headers=PNG)
    assert message in error(response, status)


def test_many_images_share_the_limit_of_pixels(client_of):
    images = as_json(*[encoded(np.zeros((100, 100, 3), np.uint8))] * 6)
    sentence = error(client_of().post("/embed", json=images), 413)
    assert "6 images of 60,000 pixels are more than the 50,000 allowed" in sentence


@pytest.mark.parametrize(
    "header", [None, "Bearer wrong", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN} ", "Bearer ü"]
)
def test_without_the_token(client_of, header):
    client = client_of(TOKEN, loopback=False)
    headers = {} if header is None else {"authorization": header.encode()}
    for method, path in (("POST", "/embed"), ("GET", "/metrics"), ("GET", "/nowhere")):
        response = client.request(method, path, headers=headers)
        assert "a token is needed" in error(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.text
    for path in ("/health", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200


def test_with_the_token(client_of):
    client = client_of(TOKEN, loopback=False)
    headers = {"authorization": f"Bearer {TOKEN}", **PNG}
    assert client.post("/embed", content=encoded(FACES[0]), headers=headers).status_code == 200
    assert client.get("/metrics", headers=headers).status_code == 200
    # A name that points here is what other machines use.
    headers["host"] = "faces.example"
    assert client.post("/embed", content=encoded(FACES[0]), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 400),
        ({"host": "127.0.0.1.evil.example"}, 400),
        ({"host": "[broken"}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:8000"}, 200),
    ],
)
def test_other_sites_pages_can_not_use_it(client_of, headers, status):
    data = encoded(FACES[0])
    response = client_of().post("/embed", content=data, headers={**PNG, **headers})
    assert response.status_code == status


def test_more_requests_than_the_queue_takes(client_of, monkeypatch):
    from ssl_faces.apps.web.guard import Guard

    client = client_of(queue=2)
    guard = client.app.middleware_stack
    while not isinstance(guard, Guard):
        guard = guard.app
    monkeypatch.setattr(guard, "_free", asyncio.Semaphore(0))
    response = client.post("/embed", content=encoded(FACES[0]), headers=PNG)
    assert "2 requests are in progress" in error(response, 429)
    assert response.headers["retry-after"] == "1"
    assert client.get("/health").status_code == 200


def test_what_takes_too_long_or_too_much(client_of, service, monkeypatch):
    client = client_of(seconds=0.2)
    data = encoded(FACES[0])
    release = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(service, "faces", lambda *_: release.wait(30))
        response = client.post("/embed", content=data, headers=PNG)
        assert "takes longer than 0.2 seconds" in error(response, 503)
        release.set()

    def fails(error):
        def faces(*_):
            raise error

        return faces

    with monkeypatch.context() as patch:
        patch.setattr(service, "faces", fails(MemoryError()))
        response = client.post("/embed", content=data, headers=PNG)
        assert "not enough memory" in error(response, 503)
        patch.setattr(service, "faces", fails(RuntimeError("secret")))
        assert "secret" not in error(client.post("/embed", content=data, headers=PNG), 500)
    assert client.post("/embed", content=data, headers=PNG).status_code == 200


def test_health_and_metrics(client_of):
    client = client_of()
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["classes"] == list(CLASSES)
    assert health["feature_dims"]["identity"] == 6
    client.post("/embed", json=as_json(*map(encoded, FACES)))
    client.post("/embed", content=b"", headers=PNG)
    client.get("/a" * 50)
    text = client.get("/metrics").text
    for line in (
        'ssl_faces_requests_total{path="/embed",status="200"} 1.0',
        'ssl_faces_requests_total{path="/embed",status="415"} 1.0',
        'ssl_faces_requests_total{path="other",status="404"} 1.0',
        "ssl_faces_batch_faces_sum 3.0",
        "ssl_faces_requests_in_flight 0.0",
        'ssl_faces_request_seconds_count{path="/embed"} 2.0',
    ):
        assert f"\n{line}\n" in text, line
    if Path("/proc/self/stat").exists():
        assert re.search(r"^process_resident_memory_bytes \d", text, re.MULTILINE)


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "action")]


def test_the_page_needs_no_network(client_of):
    client = client_of()
    page = client.get("/")
    assert page.url.path == "/docs"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    links = _Links()
    links.feed(page.text)
    assert not {"script", "link", "img", "iframe"} & set(links.tags)
    assert "/openapi.json" in links.targets
    assert all(target[0] in "/#" for target in links.targets)
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {"/embed", "/verify", "/expressions", "/health", "/metrics"}
    for path in described["paths"]:
        assert f" {path}</code>" in page.text
    for status in (400, 401, 413, 415, 422, 429, 503):
        assert str(status) in described["paths"]["/embed"]["post"]["responses"]
        assert f"<td>{status}</td>" in page.text
    for target in links.targets:
        assert target[0] == "/" or f'id="{target[1:]}"' in page.text
