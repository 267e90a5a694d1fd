"""A scripted server on loopback that speaks the native dialect (wire.md §1), well or badly, as a test needs.

It stands for the other end of the network: what it sends is written out by hand, so that the command line is tested
against the contract and not against our own encoder.
"""

from __future__ import annotations

import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cached_tokens": 0}
SUMMARY = {
    "id": "0192f0c1-0000-7000-8000-000000000000",
    "model": "scripted",
    "fingerprint": "mv1:0123456789abcdef",
    "seed": 7,
    "usage": USAGE,
    "generated_at": "2026-11-21T12:00:00.123456789Z",
    "timings": {"queued_ns": 1, "prefill_ns": 2, "first_token_ns": 3_000_000, "total_ns": 40_000_000},
}
HEALTH = {
    "status": "ok",
    "uptime_s": 12.5,
    "requests": 3,
    "average_response_ms": 41.5,
    "tokens": 17,
    "running": 0,
    "waiting": 0,
    "vault": {"seq": 3, "head": "sha256:00", "bytes_free": 1_000_000},
    "model": "scripted",
    "fingerprint_parts": {"runner": "scripted", "version": "1"},
    "version": "0.1.0",
}

Script = Callable[["Handler", dict[str, Any]], None]


@dataclass
class Seen:
    """What the server was sent."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def do_GET(self) -> None:
        self.server.seen.paths.append(self.path)
        self.server.seen.headers.append({key.lower(): value for key, value in self.headers.items()})
        script = {"/health": self.server.health, "/ready": self.server.ready}.get(self.path, error(404, "not_found"))
        script(self, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.paths.append(self.path)
        self.server.seen.bodies.append(body)
        self.server.seen.headers.append({key.lower(): value for key, value in self.headers.items()})
        self.server.next_script()(self, body)

    def send(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def line(self, value: dict[str, Any]) -> None:
        self.chunk(json.dumps(value).encode() + b"\n")

    def token(self, text: str, index: int) -> None:
        self.line({"token": text, "index": index})

    def log_message(self, *_: object) -> None:
        pass


class ScriptedServer(ThreadingHTTPServer):
    """Serves each POST with the next script; the last one repeats."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen = Seen()
        self.scripts: deque[Script] = deque()
        self.health: Script = reply(HEALTH)
        self.ready: Script = reply({"status": "ready"})
        self.client_left = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def will(self, *scripts: Script) -> None:
        """Answer the coming requests so, in order."""
        self.scripts = deque(scripts)

    def next_script(self) -> Script:
        with self._lock:
            return self.scripts.popleft() if len(self.scripts) > 1 else self.scripts[0]

    def handle_error(self, *_: object) -> None:
        self.client_left.set()


class UnixScriptedServer(ScriptedServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "localhost", 0


def reply(value: dict[str, Any]) -> Script:
    return lambda handler, _: handler.send(200, json.dumps(value).encode())


def raw(status: int, body: bytes, kind: str = "text/html", **headers: str) -> Script:
    return lambda handler, _: handler.send(status, body, kind, **headers)


def error(status: int, code: str, message: str = "no", field: str | None = None, **headers: str) -> Script:
    body = {"error": {"code": code, "message": message, "field": field, "request_id": "r"}}
    return lambda handler, _: handler.send(status, json.dumps(body).encode(), **headers)


def answer(*tokens: str, finish_reason: str = "stop", **more: Any) -> Script:
    """A whole answer: streamed or not, as the request asks."""

    def script(handler: Handler, body: dict[str, Any]) -> None:
        end = {**SUMMARY, "finish_reason": finish_reason, **more}
        if not body.get("stream"):
            handler.send(200, json.dumps({"response": "".join(tokens), **end}).encode())
            return
        handler.begin_stream()
        for index, token in enumerate(tokens):
            handler.token(token, index)
        handler.line({"done": True, **end})
        handler.chunk(b"")

    return script


def pieces(*data: bytes, is_ended: bool = True) -> Script:
    """A stream of exactly these bytes; without its end the connection breaks off."""

    def script(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin_stream()
        for piece in data:
            handler.chunk(piece)
        if is_ended:
            handler.chunk(b"")
        handler.close_connection = True

    return script


def endless(handler: Handler, _: dict[str, Any]) -> None:
    """Tokens until the client leaves, which sets `client_left`."""
    handler.begin_stream()
    pause = threading.Event()
    for index in range(1_000_000):
        handler.token("word ", index)
        pause.wait(0.005)


def hang_up(handler: Handler, _: dict[str, Any]) -> None:
    """Close the connection without a reply."""
    handler.close_connection = True


@contextmanager
def serving(socket_path: Path | None = None) -> Iterator[ScriptedServer]:
    """A running server on a free loopback port, or on a unix socket."""
    server = UnixScriptedServer(str(socket_path), Handler) if socket_path else ScriptedServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
