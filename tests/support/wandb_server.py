"""A local fake of W&B's server that can be cut off."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKET: dict[str, Any] = {
    "id": "x",
    "name": "r1",
    "displayName": "r1",
    "description": "",
    "config": "{}",
    "sweepName": None,
    "project": {"id": "p", "name": "ssl-faces", "entity": {"id": "e", "name": "me"}},
    "historyLineCount": 0,
}


class Answers(BaseHTTPRequestHandler):
    # One connection per request, so that none stays open.
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        server = self.server
        assert isinstance(server, Server)
        if server.silent:
            threading.Event().wait()
        server.requests.append((self.path, body.decode(errors="replace")))
        reply = _reply(json.loads(body), server.server_port) if "graphql" in self.path else {}
        answer = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST

    def log_message(self, *_: Any) -> None:
        pass


def _reply(request: dict[str, Any], port: int) -> dict[str, Any]:
    if "upsertBucket" in request["query"]:
        return {"data": {"upsertBucket": {"bucket": BUCKET, "inserted": True}}}
    if "createRunFiles" in request["query"]:
        names = request["variables"]["files"]
        files = [{"name": n, "uploadUrl": f"http://127.0.0.1:{port}/up/{n}"} for n in names]
        return {"data": {"createRunFiles": {"runID": "x", "uploadHeaders": [], "files": files}}}
    if "createArtifact(" in request["query"]:
        # It is there already: nothing is uploaded.
        sequence = {"id": "s", "latestArtifact": {"id": "a", "versionIndex": 0}}
        artifact = {"id": "a", "state": "COMMITTED", "artifactSequence": sequence}
        return {"data": {"createArtifact": {"artifact": artifact}}}
    viewer = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
    return {"data": {"viewer": viewer, "serverInfo": {"features": []}, "model": None}}


class Server(ThreadingHTTPServer):
    """Serves from the start.

    Attributes:
        requests: path and body of each request.
        silent: accept requests, but never answer.
    """

    silent = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.requests: list[tuple[str, str]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def cut_off(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # the client has gone


def logged(out: Path) -> dict[str, str]:
    """The last values in W&B's file of a run, as JSON by key, and the metadata of artifacts."""
    from wandb.proto import wandb_internal_pb2

    result: dict[str, str] = {}
    (path,) = out.glob("wandb/offline-run-*/*.wandb")
    for data in records_of(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        for item in record.history.item:
            result[item.key or "/".join(item.nested_key)] = item.value_json
        for artifact in (record.artifact, record.request.log_artifact.artifact):
            if artifact.name:
                result[f"artifact/{artifact.type}"] = artifact.metadata
    return result


def records_of(path: Path) -> Iterator[bytes]:
    """Records of a `.wandb` file: seven bytes, then LevelDB's log with blocks of 32 KiB."""
    data, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        if kind == 0:
            return
        parts += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""
