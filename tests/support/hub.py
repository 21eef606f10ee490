"""A stand-in for the server of the Hugging Face hub."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

SHA = "0" * 39 + "1"


class Hub(ThreadingHTTPServer):
    """Keeps the files of each repository, and what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.tokens: set[str | None] = set()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """The part of the hub's API that uploads and downloads need."""

    server: Hub

    def log_message(self, *arguments: Any) -> None: ...

    def reply(self, content: Any, code: int = 200, **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.tokens.add(self.headers.get("Authorization"))
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories.setdefault(name, {})
            # Older clients say `private`.
            private = asked.get("private") or asked.get("visibility") == "private"
            self.server.private[name] = private
            self.reply({"url": f"{self.server.url}/{name}"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            mode = {"uploadMode": "regular", "shouldIgnore": False, "oid": None}
            self.reply({"files": [{"path": file["path"], **mode} for file in files]})
        elif "/commit/" in self.path:
            name = self.path.removeprefix("/api/models/").partition("/commit/")[0]
            for line in filter(None, body.split(b"\n")):
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    self.server.repositories[name][entry["value"]["path"]] = content
            address = f"{self.server.url}/{name}/commit/{SHA}"
            self.reply({"success": True, "commitOid": SHA, "commitUrl": address})
        else:
            self.reply({})  # /api/validate-yaml

    def do_GET(self) -> None:
        name = next((n for n in self.server.repositories if f"/{n}/" in f"{self.path}/"), None)
        files = self.server.repositories.get(name or "", {})
        wanted = self.path.partition(f"/resolve/{SHA}/")[2]
        if name is None or ("/resolve/" in self.path and wanted not in files):
            missing = "RepoNotFound" if name is None else "EntryNotFound"
            self.reply({"error": missing}, 404, X_Error_Code=missing)
        elif wanted:
            tag = f'"{hash(files[wanted])}"'
            self.reply(files[wanted], ETag=tag, X_Repo_Commit=SHA)
        elif "/tree/" in self.path:
            self.reply(
                [{"type": "file", "oid": n, "size": len(c), "path": n} for n, c in files.items()]
            )
        else:
            self.reply({"id": name, "sha": SHA, "siblings": [{"rfilename": n} for n in files]})

    do_HEAD = do_GET


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub")
    server = Hub()
    Thread(target=server.serve_forever, daemon=True).start()
    constants = "huggingface_hub.constants"
    # As HF_ENDPOINT and HF_HUB_CACHE set them before the client is imported.
    monkeypatch.setattr(f"{constants}.ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(f"{constants}.HF_HUB_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()
