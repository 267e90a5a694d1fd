"""The HTTP client on its own: when it tries again, when it must not, what it makes of silence, and its addresses."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from minivault import errors
from minivault.cli.client.address import bound_address, parse_address
from minivault.cli.client.client import Client
from tests.cli.server import Handler, Script, ScriptedServer, answer, endless, error
from tests.live import GUARD_S, free_port

BODY = {"prompt": "Hi"}


class Clock:
    """Time that passes only by sleeping; `before_sleep` is called each time."""

    def __init__(self, before_sleep: Callable[[], None] = lambda: None) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []
        self._before_sleep = before_sleep

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self._before_sleep()
        self.slept.append(seconds)
        self.now_s += seconds


def client(server: ScriptedServer, clock: Clock, **options: Any) -> Client:
    return Client(parse_address(server.url), clock=clock, sleep=clock.sleep, **options)


def test_it_waits_as_long_as_the_server_says_and_no_longer_than_it_may(server: ScriptedServer) -> None:
    server.will(error(503, "loading", Retry_After="4"))
    clock = Clock()
    with client(server, clock, wait_s=10) as asking, pytest.raises(errors.Loading):
        asking.generate(BODY)
    assert clock.slept == [4.0, 4.0]
    assert len(server.seen.bodies) == 3


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (error(503, "load_failed"), errors.LoadFailed),
        (error(503, "vault_unavailable"), errors.VaultUnavailable),
        (error(429, "quota_exceeded"), errors.QuotaExceeded),
        (error(500, "generation_failed"), errors.GenerationFailed),
    ],
)
def test_what_waiting_does_not_cure_is_not_tried_again(
    refusal: Script, kind: type[Exception], server: ScriptedServer
) -> None:
    server.will(refusal)
    clock = Clock()
    with client(server, clock, wait_s=1000) as asking, pytest.raises(kind):
        asking.generate(BODY)
    assert (clock.slept, len(server.seen.bodies)) == ([], 1)


def test_it_waits_for_a_server_that_is_not_there_yet() -> None:
    port = free_port()
    listening: list[socket.socket] = []

    def start_listening() -> None:
        listening.append(socket.create_server(("127.0.0.1", port)))
        threading.Thread(target=_answer_once, args=(listening[0],)).start()

    clock = Clock(start_listening)
    with Client(parse_address(f"127.0.0.1:{port}"), wait_s=5, clock=clock, sleep=clock.sleep) as asking:
        assert asking.health() == {"status": "ok"}
    listening[0].close()
    assert len(clock.slept) == 1


def _answer_once(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"status": "ok"}')


@pytest.mark.parametrize("is_streamed", [True, False])
def test_a_server_that_stays_silent_is_given_up_and_not_asked_twice(is_streamed: bool, server: ScriptedServer) -> None:
    released = threading.Event()

    def silent(handler: Handler, _: dict[str, Any]) -> None:
        released.wait(30)
        handler.close_connection = True

    server.will(silent)
    clock = Clock()
    with client(server, clock, wait_s=1000, read_timeout_s=0.2) as asking, pytest.raises(errors.DeadlineExceeded):
        asking.generate(BODY) if not is_streamed else next(asking.stream(BODY))
    released.set()
    assert len(server.seen.bodies) == 1


def test_a_stream_that_falls_silent_is_cut(server: ScriptedServer) -> None:
    released = threading.Event()

    def stalling(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin_stream()
        handler.token("Half", 0)
        released.wait(30)
        handler.close_connection = True

    server.will(stalling)
    with client(server, Clock(), read_timeout_s=0.2) as asking, closing(asking.stream(BODY)) as lines:
        assert next(lines)["token"] == "Half"
        with pytest.raises(errors.ServerError, match="cut"):
            next(lines)
    released.set()


def test_leaving_a_stream_early_closes_the_connection(server: ScriptedServer) -> None:
    server.will(endless)
    with client(server, Clock()) as asking:
        lines = asking.stream(BODY)
        next(lines)
        lines.close()
        assert server.client_left.wait(GUARD_S)


def test_something_that_listens_and_never_speaks_is_unreachable_and_not_absent(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minivault.cli.client.client.PROBE_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = parse_address(f"127.0.0.1:{listener.getsockname()[1]}")
        with Client(address) as asking, pytest.raises(errors.Unreachable, match="does not answer /health"):
            asking.probe()


def test_a_redirect_is_never_followed(server: ScriptedServer) -> None:
    server.will(lambda handler, _: handler.send(307, b"", Location="/elsewhere"), answer("Hello"))
    with client(server, Clock(), api_key="secret") as asking, pytest.raises(errors.ServerError, match="307"):
        asking.generate(BODY)
    assert server.seen.paths == ["/generate"]


@pytest.mark.parametrize(
    ("text", "url", "is_loopback"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000", True),
        ("localhost", "http://localhost", True),
        ("http://[::1]:8000/", "http://[::1]:8000", True),
        ("https://llm.example/vault/", "https://llm.example/vault", False),
        ("unix:/run/mv.sock", "http://localhost", True),
    ],
)
def test_each_way_to_write_an_address(text: str, url: str, is_loopback: bool) -> None:
    address = parse_address(text)
    assert (address.base_url, address.is_loopback) == (url, is_loopback)


@pytest.mark.parametrize(
    "text", ["", "ftp://h", "http://", "h:0", "h:70000", "h:x", "http://u:p@h", "h?q=1", "h#f", "h h", "höst", "[::1"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(errors.ConfigError):
        parse_address(text)


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("[::]:80", "http://[::1]:80"),
        ("::1:80", "http://[::1]:80"),
        ("unix:/x", "unix:/x"),
        ("127.0.0.1:0", "None"),
    ],
)
def test_where_a_bind_address_is_reached(bind: str, url: str) -> None:
    assert str(bound_address(bind)) == url
