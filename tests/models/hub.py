"""A model hub on loopback: the two endpoints that the client library uses, from a directory, with faults on request."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Serves `files` as repository `repository`. `stall_after` holds a body back after so many bytes of weights until
    `release` is set; `drop_after` closes the first connection for weights after so many bytes;
    `corrupt` changes the weights on the way; `seen` lists (method, path, Range header)."""

    repository: str
    files: Path
    url: str = ""
    license: str = "apache-2.0"
    stall_after: int | None = None
    drop_after: int | None = None
    corrupt: bool = False
    gate: str = ""
    """Why nobody without the token `hf_mine` gets a file."""
    stalled: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    seen: list[tuple[str, str, str]] = field(default_factory=list)

    def model_info(self) -> dict[str, Any]:
        siblings = [self._sibling(path) for path in sorted(self.files.iterdir())]
        return {
            "_id": "1",
            "id": self.repository,
            "modelId": self.repository,
            "sha": COMMIT,
            "private": False,
            "tags": [f"license:{self.license}"],
            "downloads": 1,
            "likes": 0,
            "siblings": siblings,
        }

    def _sibling(self, path: Path) -> dict[str, Any]:
        size = path.stat().st_size
        entry: dict[str, Any] = {"rfilename": path.name, "size": size, "blobId": "0" * 40}
        if path.suffix in (".safetensors", ".gguf"):
            entry["lfs"] = {"sha256": digest(path), "size": size, "pointerSize": 134}
        return entry

    @property
    def fetched(self) -> set[str]:
        return {path.rpartition("/")[2] for method, path, _ in self.seen if method == "GET" and "/resolve/" in path}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server.hub, self.path.partition("?")[0]
        hub.seen.append((self.command, path, self.headers.get("Range", "")))
        if path.startswith(f"/api/models/{hub.repository}"):
            revision = path.rpartition("/revision/")[2] if "/revision/" in path else "main"
            if revision not in ("main", COMMIT):
                return self._refuse("RevisionNotFound")
            return self._send(200, json.dumps(hub.model_info()).encode(), {"Content-Type": "application/json"})
        if hub.gate and "/resolve/" in path and self.headers.get("Authorization") != "Bearer hf_mine":
            return self._refuse("GatedRepo", hub.gate, 403)
        file = hub.files / path.rpartition("/")[2]
        if not path.startswith(f"/{hub.repository}/resolve/") or not file.is_file():
            return self._refuse("RepoNotFound" if "/api/" in path else "EntryNotFound")
        return self._send_file(file)

    def _refuse(self, code: str, reason: str = "", status: int = 404) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": reason or code})

    def _send_file(self, file: Path) -> None:
        body = file.read_bytes()
        headers = {"ETag": f'"{digest(file)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if self.server.hub.corrupt and file.name.endswith(".safetensors"):
            body = body[:-1] + bytes([body[-1] ^ 1])
        start = 0
        if asked := self.headers.get("Range", ""):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self._send(206 if start or asked else 200, body[start:], headers, is_weights=file.name.endswith(".safetensors"))

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, is_weights: bool = False) -> None:
        hub = self.server.hub
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(ConnectionError):
            if is_weights and hub.stall_after is not None:
                self.wfile.write(body[: hub.stall_after])
                self.wfile.flush()
                hub.stalled.set()
                hub.release.wait(60)
                body = body[hub.stall_after :]
            if is_weights and hub.drop_after is not None:
                self.close_connection = True
                body, hub.drop_after = body[: hub.drop_after], None
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub


@contextlib.contextmanager
def serving(repository: str, files: Path) -> Iterator[Hub]:
    """A hub with one repository, on a free port of 127.0.0.1."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.hub = Hub(repository, files, url=f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server.hub
        finally:
            server.hub.release.set()
            server.shutdown()
            thread.join()
