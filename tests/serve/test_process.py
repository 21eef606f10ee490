"""The real command: its arguments, slow and broken clients, no files, and a clean end."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

from tests.support.commands import refusal, run
from tests.support.images import encoded, rendered

for package in ("fastapi", "prometheus_client"):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]
TOKEN = "secret-of-the-tests-0123456789"
FACE = encoded(rendered(1)[0])


class Served:
    """The serving command, and the address that it printed."""

    def __init__(self, process, temporary):
        self.process, self.temporary = process, temporary
        assert process.stdout is not None
        self.line = process.stdout.readline()
        address = urlsplit(self.line.split()[0])
        assert address.hostname == "127.0.0.1", self.line
        self.host, self.port = address.hostname, address.port

    def ask(self, method, path, body=None, **headers):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            with suppress(BrokenPipeError):  # it may refuse a long body before its end
                connection.request(method, path, body, named)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture(name="served", scope="module")
def _served(with_probe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "temporary").mkdir()
    (folder / "token").write_text(f"{TOKEN}\n")
    words = ["serve", "--encoder", str(with_probe), "--port", "0", "--seconds", "6"]
    words += ["--max-mb", "0.5", "--token-file", str(folder / "token")]
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_faces.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", ""))),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder / "temporary"),
        },
    )
    served = Served(process, folder / "temporary")
    try:
        yield served
    finally:
        process.kill()
        process.wait()


def test_concurrent_requests_slow_clients_and_the_end(served):
    before = set(served.temporary.rglob("*"))
    allowed = {"authorization": f"Bearer {TOKEN}", "content_type": "image/png"}
    assert served.ask("POST", "/embed", FACE, content_type="image/png")[0] == 401
    answers = []
    clients = [
        threading.Thread(
            target=lambda: answers.append(served.ask("POST", "/embed", FACE, **allowed))
        )
        for _ in range(16)
    ]
    # One that sends half of its body, and one that goes away amid it.
    slow = socket.create_connection((served.host, served.port), timeout=60)
    gone = socket.create_connection((served.host, served.port), timeout=60)
    head = (
        f"POST /embed HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: image/png\r\nContent-Length: {len(FACE)}\r\n\r\n"
    ).encode()
    for client in (slow, gone):
        client.sendall(head + FACE[: len(FACE) // 2])
    gone.close()
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert [status for status, _ in answers] == [200] * 16
    assert len({body for _, body in answers}) == 1 or _nearly_equal(answers)
    answer = slow.makefile("rb").read().decode()  # it is closed after the answer
    assert answer.startswith("HTTP/1.1 408 ")
    assert "the request did not arrive within 6 seconds" in answer
    slow.close()
    # More than is allowed, with the length in front and without it.
    status, body = served.ask("POST", "/embed", bytes(600_000), **allowed)
    assert (status, b"524,288 bytes" in body) == (413, True)
    status, text = served.ask("GET", "/metrics", authorization=f"Bearer {TOKEN}")
    assert status == 200
    assert b'ssl_faces_requests_total{path="/embed",status="200"} 16.0' in text
    assert b'status="400"} 1.0' in text  # cut short
    assert set(served.temporary.rglob("*")) == before

    served.process.send_signal(signal.SIGTERM)
    rest, _ = served.process.communicate(timeout=60)
    assert "stopped by SIGTERM" in rest
    assert "Traceback" not in rest
    assert TOKEN not in served.line + rest
    assert served.process.returncode == 143
    with pytest.raises(ConnectionRefusedError):
        served.ask("GET", "/health")


def _nearly_equal(answers):
    """Batches of other sizes round otherwise."""
    codes = [json.loads(body)["faces"][0]["codes"]["identity"] for _, body in answers]
    return all(one == pytest.approx(codes[0], abs=1e-4) for one in codes)


def test_other_machines_need_a_token(with_probe, tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr("ssl_faces.apps.web.running.run_app", lambda *args, **_: ran.append(args))
    words = ("serve", "--encoder", with_probe, "--host", "0.0.0.0")
    monkeypatch.delenv("SSL_FACES_TOKEN", raising=False)
    message = refusal(capsys, *words)
    assert "--host 0.0.0.0: other machines need a token; give --token-file FILE" in message
    monkeypatch.setenv("SSL_FACES_TOKEN", "short")
    message = refusal(capsys, *words)
    assert "SSL_FACES_TOKEN: give a token of at least 16" in message
    assert "short" not in message
    (tmp_path / "token").write_text("with spaces, and long enough\n")
    assert "without spaces" in refusal(capsys, *words, "--token-file", tmp_path / "token")
    assert "can't be read" in refusal(capsys, *words, "--token-file", tmp_path / "none")
    assert not ran
    monkeypatch.setenv("SSL_FACES_TOKEN", TOKEN)
    assert run(*words) == 0
    printed = capsys.readouterr()
    assert "without encryption; put a proxy with TLS in front" in printed.err
    assert TOKEN not in printed.out + printed.err
    assert ran[0][1:3] == ("0.0.0.0", 8000)
    monkeypatch.delenv("SSL_FACES_TOKEN")
    assert run("serve", "--encoder", with_probe) == 0
    assert ran[1][1] == "127.0.0.1"


def face(value):
    return np.full((2, 2, 3), value, np.uint8)


class Encoder:
    """Codes that name the face; the first batch waits until `go`."""

    def __init__(self):
        self.sizes: list[int] = []
        self.spaces: list[set[str]] = []
        self.go = threading.Event()

    def __call__(self, crops, spaces):
        self.sizes.append(len(crops))
        self.spaces.append({*spaces})
        if len(self.sizes) == 1:
            assert self.go.wait(10)
        if any(crop[0, 0, 0] == 255 for crop in crops):
            raise ValueError("white")
        codes = torch.tensor([[float(crop[0, 0, 0])] for crop in crops])
        return {space: codes + 1000 * (space == "b") for space in spaces}


async def _batched(requests, most):
    from ssl_faces.apps.serve.batches import Batcher

    encoder = Encoder()
    batcher = Batcher(encoder, most)
    running = asyncio.create_task(batcher.run())
    asked = []
    for values, spaces in requests:
        asked.append(asyncio.create_task(batcher([face(v) for v in values], spaces)))
        await asyncio.sleep(0.02)
    asked[1].cancel()
    await asyncio.sleep(0)
    encoder.go.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return encoder, answers


def test_requests_that_wait_share_a_batch():
    requests = [
        ([0], {"a"}),  # alone: nothing else waits
        ([9], {"a"}),  # cancelled while it waits: computed for nobody
        ([1, 2], {"a"}),
        ([3], {"b"}),
        ([4, 5], {"a", "b"}),  # would make five
        ([6] * 7, {"a"}),  # more than a batch: alone
        ([7], {"a"}),
    ]
    encoder, answers = asyncio.run(_batched(requests, 4))
    assert encoder.sizes == [1, 3, 2, 7, 1]
    assert encoder.spaces[1] == {"a", "b"}
    assert isinstance(answers[1], asyncio.CancelledError)
    for (values, spaces), codes in zip(requests, answers, strict=True):
        if values == [9]:
            continue
        assert set(codes) == spaces
        for space in spaces:
            assert codes[space][:, 0].tolist() == [v + 1000 * (space == "b") for v in values]


def test_a_batch_that_fails_stops_no_other():
    requests = [([0], {"a"}), ([9], {"a"}), ([255], {"a"}), ([1] * 4, {"a"})]
    _, answers = asyncio.run(_batched(requests, 4))
    assert isinstance(answers[2], ValueError)
    assert answers[3]["a"][:, 0].tolist() == [1] * 4
