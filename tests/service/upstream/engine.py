"""An engine on loopback that answers as a test says: a real socket, no model.

`reply` is called with the path and the body of each request and gives what is sent: the objects of a stream, which may
wait for an event of the test, or an `Error`. What was asked stands in `asked`; `left` is set once a client has gone in
the middle of a stream.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Error:
    """A reply that is no answer."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


BREAK = object()
"""In a stream: the connection is closed there."""
END = object()


def words(*texts: str, reason: str | None = "stop", **more: Any) -> Iterator[Body]:
    """A chat stream that says these pieces."""
    for text in texts:
        yield {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]}
    if reason is not None:
        yield {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    usage = {"prompt_tokens": 3, "completion_tokens": len(texts), "prompt_tokens_details": {"cached_tokens": 2}}
    yield {"choices": [], "usage": usage, **more}


Reply = Callable[[str, Body], "Iterable[Any] | Error"]


class Engine:
    """Serves on a port of its own until it is stopped."""

    def __init__(self, reply: Reply, *, models: Iterable[Body], others: dict[str, Any], host: str) -> None:
        self.reply = reply
        self.models = list(models)
        self.others = others
        self.asked: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.connections: set[Any] = set()
        self.left = threading.Event()
        self._server = ThreadingHTTPServer((host, 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._server.server_address[1]}/v1"

    def stop(self) -> None:
        """No new connection is taken."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def engine(
    reply: Reply = lambda _path, _body: words("Hello", " there"),
    *,
    models: Iterable[Body] = ({"id": "m", "owned_by": "vllm", "max_model_len": 512},),
    others: dict[str, Any] | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Engine]:
    """A running engine; `others` are further paths and what they say."""
    running = Engine(reply, models=models, others=others or {}, host=host)
    try:
        yield running
    finally:
        running.stop()


def _handler(of: Engine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            listed = {"object": "list", "data": of.models} if self.path == "/v1/models" else None
            told = of.others.get(self.path, listed)
            if isinstance(told, Error):
                self._say(told.status, told.body)
            else:
                self._say(404, {"detail": "Not Found"}) if told is None else self._say(200, told)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            of.asked.append(body)
            of.headers.append(dict(self.headers))
            of.connections.add(self.client_address)
            reply = of.reply(self.path, body)
            if isinstance(reply, Error):
                self._say(reply.status, reply.body, reply.headers)
                return
            pieces = iter(reply)
            first = next(pieces, END)
            if first is BREAK:
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                self._stream(first, pieces)
            except OSError:
                self.close_connection = True
                of.left.set()

        def _stream(self, first: Any, pieces: Iterator[Any]) -> None:
            for piece in _chained(first, pieces):
                if piece is BREAK:
                    self.close_connection = True
                    return
                self._chunk(b"data: " + json.dumps(piece).encode() + b"\n\n")
            self._chunk(b"data: [DONE]\n\n")
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

        def _say(self, status: int, told: Any, headers: dict[str, str] | None = None) -> None:
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    return Handler


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not END:
        yield first
        yield from rest


def endless(_path: str, body: Body) -> Iterator[Any]:
    """Says the last message again and again, until nobody listens; `once …` is said once."""
    said = body["messages"][-1]["content"]
    if said.startswith("once"):
        yield from words(said)
        return
    while True:
        yield from words(said, reason=None)
        threading.Event().wait(0.05)


def main() -> None:
    """In a process of its own: prints its address, then answers `endless` until it is killed. Where it listens may be
    given."""
    with engine(endless, host=next(iter(sys.argv[1:]), "127.0.0.1")) as running:
        print(running.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
