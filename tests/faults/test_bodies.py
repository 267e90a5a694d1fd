"""Bodies that come slowly, late or not at all: they cost a file descriptor, never a thread, and nobody waits for them.

The server has 16 threads in each of two workers; there are more slow clients than that in every test.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from minivault.access.keys import KeyFile, NewKey
from tests.faults.raw import Reply, Target, post_bytes, read_reply
from tests.live import live_server

pytestmark = pytest.mark.server
NUM_SLOW = 140
BODY = b'{"prompt": "say x"}'


class Keyed(Target):
    """A server that needs a key."""

    token = ""

    def post_bytes(self, body: bytes, *, length: int | None = None, extra: str = "", path: str = "/generate") -> bytes:
        return post_bytes(body, path=path, length=length, extra=f"Authorization: Bearer {self.token}\r\n{extra}")

    def ask(self) -> int:
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.post(
            self.server.url + "/generate", json={"prompt": "say x"}, headers=headers, timeout=30
        ).status_code


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    directory = tmp_path_factory.mktemp("bodies")
    [(_, token)] = KeyFile(directory / "home" / "keys.json").create(NewKey("only", rate="1000/hour"))
    with live_server(
        directory,
        workers=2,
        threads=16,
        receive_timeout_s=30,
        auth_failure_limit="",
        max_waiting=256,
        context=4096,
    ) as server:
        server.wait_ready()
        server.wait_for(lambda: len(server.workers()) == 2)
        target = Keyed(server)
        target.token = token
        yield target


@contextmanager
def connections(target: Target, number: int) -> Iterator[list[socket.socket]]:
    sockets = [target.connect() for _ in range(number)]
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def trickle(sockets: list[socket.socket], data: bytes) -> None:
    """Send to every client's connection byte by byte, as far as the server takes it."""
    for byte in data:
        for sock in sockets:
            try:
                sock.send(bytes([byte]))
            except OSError:
                continue


def replies_of(sockets: list[socket.socket]) -> list[Reply]:
    return [read_reply(sock) for sock in sockets]


def test_bodies_sent_by_the_byte_without_a_key_are_refused_before_they_have_come(keyed: Keyed) -> None:
    with connections(keyed, NUM_SLOW) as sockets:
        for sock in sockets:
            sock.sendall(post_bytes(b"", length=1000))
        trickle(sockets, b"  ")
        assert keyed.ask() == 200
        assert {(reply.status, reply.is_closed) for reply in replies_of(sockets)} == {(401, True)}


def test_bodies_sent_by_the_byte_with_a_key_hold_no_thread_and_are_answered_when_they_have_come(keyed: Keyed) -> None:
    with connections(keyed, NUM_SLOW) as sockets:
        for sock in sockets:
            sock.sendall(keyed.post_bytes(b"", length=len(BODY)))
        trickle(sockets, BODY[:-1])
        assert keyed.ask() == 200
        trickle(sockets, BODY[-1:])
        assert {reply.status for reply in replies_of(sockets)} == {200}


def test_a_chunked_body_sent_by_the_byte_is_the_same(keyed: Keyed) -> None:
    head = keyed.post_bytes(b"", length=0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with connections(keyed, NUM_SLOW) as sockets:
        for sock in sockets:
            sock.sendall(head)
        trickle(sockets, b"%x\r\n%s\r\n0\r\n\r" % (len(BODY), BODY))
        assert keyed.ask() == 200
        trickle(sockets, b"\n")
        assert {reply.status for reply in replies_of(sockets)} == {200}


def test_a_request_is_counted_once_however_its_body_comes(keyed: Keyed) -> None:
    [(_, token)] = KeyFile(keyed.server.vault.parent / "home" / "keys.json").create(NewKey("counted", rate="9/hour"))
    request = post_bytes(BODY, extra=f"Authorization: Bearer {token}\r\n")
    remaining = []
    for _ in range(3):
        with keyed.connect() as sock:
            for start in range(0, len(request), 5):
                sock.sendall(request[start : start + 5])
                select.select([sock], [], [], 0.002)
            remaining.append(read_reply(sock).head.partition("X-RateLimit-Remaining: ")[2].split("\r\n")[0])
    assert remaining == ["8", "7", "6"]


def test_clients_that_never_close_after_a_refusal_hold_up_nobody(keyed: Keyed) -> None:
    with connections(keyed, NUM_SLOW) as sockets:
        for sock in sockets:
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert {reply.status for reply in replies_of(sockets)} == {200}
        assert keyed.ask() == 200, "a main loop that waits two seconds for each would still be waiting"


def test_a_client_that_expects_to_be_asked_is_asked_only_for_a_body_that_is_wanted(keyed: Keyed) -> None:
    with keyed.connect() as sock:
        sock.sendall(keyed.post_bytes(b"", length=len(BODY), extra="Expect: 100-continue\r\n"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert read_reply(sock).status == 200
    refused = keyed.exchange(post_bytes(b"", length=len(BODY), extra="Expect: 100-continue\r\n"))
    assert (refused.status, refused.is_closed) == (401, True)
    too_long = keyed.exchange(keyed.post_bytes(b"", length=1 << 30, extra="Expect: 100-continue\r\n"))
    assert (too_long.status, too_long.is_closed) == (413, True)


def test_what_has_no_use_for_a_body_is_answered_without_it(keyed: Keyed) -> None:
    reply = keyed.exchange(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", half_close=True)
    assert (reply.status, reply.is_closed) == (200, True)


def test_requests_sent_at_once_are_answered_in_order_whatever_their_bodies(keyed: Keyed) -> None:
    def asking(answer: str) -> bytes:
        return json.dumps({"prompt": f"say {answer}"}).encode()

    one, two, three = (keyed.post_bytes(asking(answer)) for answer in ("one", "two", "three"))
    chunks = b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (asking("two")[:5], len(asking("two")) - 5, asking("two")[5:])
    length = b"Content-Length: %d" % len(asking("two"))
    head = two.partition(b"\r\n\r\n")[0].replace(length, b"Transfer-Encoding: chunked")
    with keyed.connect() as sock:
        sock.sendall(one + head + b"\r\n\r\n" + chunks + three)
        answers = [json.loads(reply.body)["response"] for reply in (read_one(sock), read_one(sock), read_one(sock))]
    assert answers == ["one", "two", "three"]


def read_one(sock: socket.socket) -> Reply:
    """One reply and not a byte of the next."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1)
    length = int(data.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while length:
        piece = sock.recv(length)
        data, length = data + piece, length - len(piece)
    return Reply(data, is_closed=False)


def test_a_connection_is_kept_behind_a_body_that_came_slowly(keyed: Keyed) -> None:
    request = keyed.post_bytes(BODY)
    with keyed.connect() as sock:
        for _ in range(2):
            sock.sendall(request[:-5])
            select.select([sock], [], [], 0.01)
            sock.sendall(request[-5:-2])
            select.select([sock], [], [], 0.01)
            sock.sendall(request[-2:])
            assert read_one(sock).status == 200
