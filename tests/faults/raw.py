"""Speaking to a server byte by byte, as no well-behaved client would."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from tests.live import GUARD_S, LiveServer


@dataclass(frozen=True)
class Reply:
    """What came back on a raw connection: a whole reply, or what was there when the server closed it."""

    data: bytes
    is_closed: bool

    @property
    def status(self) -> int:
        """The status code; 0 when there was no reply."""
        return int(self.data.split(b" ", 2)[1]) if self.data.startswith(b"HTTP/") else 0

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def error(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found


class Target:
    """A running server under attack."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        host, _, port = server.url.removeprefix("http://").rpartition(":")
        self.address = (host, int(port))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=GUARD_S)

    def exchange(self, request: bytes, *, half_close: bool = False) -> Reply:
        """Send bytes on a new connection and collect what comes back."""
        with self.connect() as sock:
            sock.sendall(request)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            return read_reply(sock)

    def post(self, body: Any, path: str = "/generate", **headers: str) -> httpx.Response:
        """A well-formed request; `body` is bytes as they are, or an object to send as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {
            "Content-Type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        # verify=False: there is no TLS here, and reading the certificates takes longer than most answers.
        return httpx.post(self.server.url + path, content=content, headers=fields, timeout=GUARD_S, verify=False)

    def answer(self, prompt: str) -> str:
        reply = self.post({"prompt": prompt})
        assert reply.status_code == 200, reply.text
        text: str = reply.json()["response"]
        return text

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(self.server.url + "/health", timeout=GUARD_S, verify=False).json()
        return found

    def wait_idle(self) -> None:
        self.server.wait_for(lambda: self.health()["running"] + self.health()["waiting"] == 0)

    def records(self) -> list[dict[str, Any]]:
        """The interactions on record, oldest first; reading proves that every line is whole ASCII JSON."""
        log = self.server.vault / "log.jsonl"
        lines = log.read_text("ascii").splitlines() if log.exists() else []
        return [record for record in map(json.loads, lines) if record["type"] == "interaction"]

    def new_records(self, action: Callable[[], object]) -> list[dict[str, Any]]:
        """The records that an action left, once nothing runs any more."""
        known = {record["id"] for record in self.records()}
        action()
        self.wait_idle()
        return [record for record in self.records() if record["id"] not in known]


def post_bytes(body: bytes, *, path: str = "/generate", length: int | None = None, extra: str = "") -> bytes:
    """A POST as bytes, with a Content-Length that may be a lie."""
    length = len(body) if length is None else length
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
    return f"{head}{extra}\r\n".encode() + body


def read_reply(sock: socket.socket) -> Reply:
    """Read until a whole reply is there (and the peer has closed, where it says that it will)."""
    data = b""
    sock.settimeout(GUARD_S)
    while not _is_complete(data):
        try:
            piece = sock.recv(65536)
        except TimeoutError:
            raise AssertionError(f"neither a reply nor an end came, only {data!r}") from None
        except OSError:
            return Reply(data, is_closed=True)
        if not piece:
            return Reply(data, is_closed=True)
        data += piece
    return Reply(data, is_closed=False)


def _is_complete(data: bytes) -> bool:
    head, found, body = data.partition(b"\r\n\r\n")
    head = head.lower()
    if not found or b"\r\nconnection: close" in head:
        return False
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.startswith(b"content-length:")]
    return len(body) >= int(lengths[0]) if lengths else body.endswith(b"0\r\n\r\n")
