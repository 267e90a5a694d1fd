"""What a front costs: an engine elsewhere that costs nothing, this server before it with the vault on, and clients.

    python -m benchmarks.front [--clients 1,8,32] [--tokens 64] [--gaps 0,5] [--json]

The engine sends every answer's tokens, an event each: all at once, so that a front finds many in one piece, and with a
gap in milliseconds between them, as a model does, so that each comes alone. It, the front and the clients share this
machine's cores, so processor time is what counts: the front's own is read from the kernel, by answer and by token.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.live import LiveServer, live_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n"
MODELS = json.dumps({"object": "list", "data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}).encode()
SECONDS = 8.0


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream_of(num_tokens: int) -> list[bytes]:
    """A whole chat stream as a server sends it, an event a chunk."""
    token = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": num_tokens}}
    events = [*[token] * num_tokens, last, usage]
    said = [chunk(b"data: " + json.dumps(event).encode() + b"\n\n") for event in events]
    return [*said, chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"]


def serve(listening: socket.socket, num_tokens: int, gap_s: float) -> None:
    """The engine: a thread a connection, and the same bytes to every question, `gap_s` between two tokens."""
    head, pieces = HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked\r\n"), stream_of(num_tokens)
    pieces = [head, *pieces] if gap_s else [head + b"".join(pieces)]
    listed = HEAD % (b"application/json", b"Content-Length: %d\r\n" % len(MODELS)) + MODELS

    def talk(sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as lines:
            while request := lines.readline():
                length = 0
                while (line := lines.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                lines.read(length)
                for piece in pieces if request.startswith(b"POST") else [listed]:
                    sock.sendall(piece)
                    time.sleep(gap_s)

    while True:
        sock, _ = listening.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=talk, args=(sock,), daemon=True).start()


@contextmanager
def engine(num_tokens: int, gap_s: float = 0.0) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        context, given = multiprocessing.get_context("fork"), (listening, num_tokens, gap_s)
        process = context.Process(target=serve, args=given, daemon=True)
        process.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        process.kill()
        process.join()


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ask_for(seconds: float, address: tuple[str, int], is_streamed: bool) -> list[float]:
    """One client that asks again and again over one connection; how long each answer took."""
    path = b"/stream-generate" if is_streamed else b"/generate"
    body = b'{"prompt": "Hello", "max_tokens": 64}'
    request = b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    request %= (path, len(body), body)
    took, until = [], time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.create_connection(address) as sock, sock.makefile("rb") as reply:
            for _ in range(50):
                began = time.perf_counter()
                sock.sendall(request)
                if not read_reply(reply):
                    break
                took.append(time.perf_counter() - began)
                if time.monotonic() >= until:
                    break
    return took


def read_reply(reply: Any) -> bool:
    """Read one reply to its end; whether the connection serves another."""
    status, length, is_chunked, goes_on = reply.readline(), 0, False, True
    assert b" 200 " in status, status + reply.read(2000)
    while (line := reply.readline().strip().lower()) != b"":
        name, _, value = line.partition(b":")
        length = int(value) if name == b"content-length" else length
        is_chunked = is_chunked or line == b"transfer-encoding: chunked"
        goes_on = goes_on and line != b"connection: close"
    if not is_chunked:
        reply.read(length)
        return goes_on
    while size := int(reply.readline(), 16):
        reply.read(size + 2)
    reply.readline()
    return goes_on


def clients(num: int, seconds: float, address: tuple[str, int], is_streamed: bool) -> list[float]:
    with ThreadPoolExecutor(num) as pool:
        asking = [pool.submit(ask_for, seconds, address, is_streamed) for _ in range(num)]
        return [one for client in asking for one in client.result()]


def measure(front: LiveServer, num_clients: int, num_tokens: int, *, is_streamed: bool) -> dict[str, Any]:
    host, _, port = front.url.removeprefix("http://").partition(":")
    address = (host, int(port))
    clients(num_clients, 1.0, address, is_streamed)
    before = sum(map(cpu_s, front.workers()))
    began = time.monotonic()
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        took = pool.apply(clients, (num_clients, SECONDS, address, is_streamed))
    elapsed = time.monotonic() - began
    used = sum(map(cpu_s, front.workers())) - before
    ordered = sorted(took)
    return {
        "clients": num_clients,
        "streamed": is_streamed,
        "answers_s": round(len(took) / elapsed, 1),
        "median_ms": round(ordered[len(ordered) // 2] * 1e3, 2),
        "cpu_ms_answer": round(used / len(took) * 1e3, 3),
        "cpu_us_token": round(used / len(took) / num_tokens * 1e6, 1),
        "answers_s_core": round(len(took) / used, 1),
    }


def rows(num_tokens: int, gap_ms: float, num_clients: Sequence[int], sync: str) -> Iterator[dict[str, Any]]:
    """What is measured of one engine, streamed and whole."""
    with engine(num_tokens, gap_ms / 1e3) as url, tempfile.TemporaryDirectory() as folder:
        settings = {"backend": "upstream", "upstream_url": url, "rate_limit": "", "vault_sync": sync}
        with live_server(Path(folder), **settings) as front:
            front.wait_ready()
            for number in num_clients:
                for is_streamed in (True, False):
                    yield {"gap_ms": gap_ms} | measure(front, number, num_tokens, is_streamed=is_streamed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--gaps", default="0,5")
    parser.add_argument("--sync", default="synced", choices=["synced", "written", "async"])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    num_clients = [int(number) for number in given.clients.split(",")]
    for gap_ms in map(float, given.gaps.split(",")):
        for row in rows(given.tokens, gap_ms, num_clients, given.sync):
            print(json.dumps(row) if given.json else row, flush=True)


if __name__ == "__main__":
    main()
