"""Clients that leave, stall or say nothing: what they began is ended and recorded, and nobody else notices."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.faults.conftest import RECEIVE_TIMEOUT_S
from tests.faults.raw import Target, post_bytes, read_reply
from tests.live import GUARD_S

pytestmark = pytest.mark.server

MAX_HEADER = 800
"""Bytes; far below what is too long, and more than a minute's worth."""
LONG = "delay=0.05 say " + "a" * 400


def stream(prompt: str, **extra: object) -> bytes:
    return post_bytes(json.dumps({"prompt": prompt, **extra}).encode(), path="/stream-generate")


def test_a_client_that_closes_mid_stream_stops_its_generation(target: Target) -> None:
    """Row 1."""
    seen = b""

    def leave_after_some_tokens() -> None:
        nonlocal seen
        with target.connect() as sock:
            sock.sendall(stream(LONG))
            while seen.count(b'"token"') < 3:
                seen += sock.recv(4096)

    [record] = target.new_records(leave_after_some_tokens)
    assert (record["status"], record["finish_reason"]) == ("cancelled", "cancelled")
    assert seen.count(b'"token"') <= len(record["response"]) < 250


def test_a_client_that_resets_its_connection_is_the_same(target: Target) -> None:
    """Row 1, with RST instead of FIN."""

    def reset() -> None:
        with target.connect() as sock:
            sock.sendall(stream(LONG))
            sock.recv(4096)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    [record] = target.new_records(reset)
    assert record["status"] == "cancelled"
    assert len(record["response"]) < 250


def test_a_client_that_closes_during_prefill_stops_its_generation(target: Target) -> None:
    """Row 2."""

    def leave() -> None:
        with target.connect() as sock:
            sock.sendall(stream("prefill=1 delay=0.05 say " + "a" * 400))
            target.server.wait_for(lambda: target.health()["running"] == 1)

    [record] = target.new_records(leave)
    assert record["status"] == "cancelled"
    assert len(record["response"]) < 250


def test_a_client_that_closes_in_the_queue_gets_no_generation(target: Target, tmp_path: Path) -> None:
    """Row 2."""
    ended = tmp_path / "ended"

    def leave_the_queue() -> None:
        with target.connect() as first, target.connect() as second:
            first.sendall(stream(f"delay=0.05 until={ended} say a", max_tokens=3000))
            first.recv(1)
            second.sendall(stream("say " + "b" * 20))
            target.server.wait_for(lambda: target.health()["waiting"] == 1)
            second.close()
            target.server.wait_for(lambda: target.health()["waiting"] == 0)
            ended.touch()
            read_reply(first)

    records = {record["prompt"][-1]: record for record in target.new_records(leave_the_queue)}
    assert (records["a"]["status"], records["b"]["status"]) == ("completed", "cancelled")
    assert records["b"]["response"] == ""


def test_a_client_that_half_closes_is_taken_for_gone_and_still_gets_a_whole_reply(target: Target) -> None:
    """Row 3: documented; MINIVAULT_DISCONNECT_CHECK=0 changes it."""
    reply = target.exchange(stream(LONG), half_close=True)
    assert reply.status == 200
    last = json.loads(reply.body.replace(b"\r\n0\r\n\r\n", b"").splitlines()[-1])
    assert (last["done"], last["finish_reason"]) == (True, "cancelled")


def test_a_client_that_never_reads_is_given_up_and_others_are_served_meanwhile(target: Target) -> None:
    """Row 4."""

    def stall() -> None:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            sock.connect(target.address)
            # 20 alternatives a token make lines of over a kilobyte: more than the kernel's buffers hold.
            sock.sendall(stream("say " + "a" * 2000, logprobs=20, max_tokens=2048))
            target.server.wait_for(lambda: target.health()["running"] == 0)
            assert target.health()["status"] == "ok"

    [record] = target.new_records(stall)
    assert record["status"] in ("cancelled", "completed")


def test_sixty_four_half_sent_headers_do_not_delay_anyone(patient: Target) -> None:
    """Row 5: four times as many as there are threads."""
    with sixty_four(patient) as sockets:
        for sock in sockets:
            sock.sendall(b"POST /generate HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        assert patient.health()["status"] == "ok"
        assert patient.answer("say quick") == "quick"


def test_sixty_four_silent_connections_do_not_delay_anyone(patient: Target) -> None:
    """Row 6."""
    with sixty_four(patient):
        assert patient.health()["status"] == "ok"
        assert patient.answer("say quick") == "quick"


@contextmanager
def sixty_four(target: Target) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(target.connect()) for _ in range(64)]


def test_a_header_that_trickles_in_is_cut_off(target: Target) -> None:
    """Row 5: the limit is on the whole header, not on each byte, which come more often than it."""
    with target.connect() as sock:
        sock.settimeout(RECEIVE_TIMEOUT_S / 15)
        for _ in range(MAX_HEADER):
            try:
                sock.sendall(b"G")
                assert sock.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                pass
            break
        else:
            raise AssertionError("a header may take for ever")


def test_a_header_sent_in_pieces_is_served(patient: Target) -> None:
    request = post_bytes(b'{"prompt": "say slowly"}')
    with patient.connect() as sock:
        for start in range(0, len(request), 40):
            sock.sendall(request[start : start + 40])
            patient.health()  # the server has taken a turn since
        assert json.loads(read_reply(sock).body)["response"] == "slowly"


def test_one_connection_carries_many_requests_also_when_sent_at_once(target: Target) -> None:
    with target.connect() as sock:
        sock.sendall(post_bytes(b'{"prompt": "say one"}') + post_bytes(b'{"prompt": "say two"}')[:50])
        first = read_reply(sock)
        sock.sendall(post_bytes(b'{"prompt": "say two"}')[50:])
        second = read_reply(sock)
    assert [json.loads(reply.body)["response"] for reply in (first, second)] == ["one", "two"]


def test_a_body_that_stalls_is_answered_408_and_the_thread_comes_back(target: Target) -> None:
    """Row 7."""
    sockets = [target.connect() for _ in range(16)]
    try:
        for sock in sockets:
            sock.sendall(post_bytes(b"{", length=100))
        replies = [read_reply(sock) for sock in sockets]
        assert {reply.status for reply in replies} == {408}
        assert replies[0].error["code"] == "body_timeout"
    finally:
        for sock in sockets:
            sock.close()


def test_a_body_cut_short_is_refused_and_nothing_is_generated(target: Target) -> None:
    """Row 8."""
    request = post_bytes(b'{"prompt": "say x"}', length=1000)
    assert target.new_records(lambda: _ensure_status(target.exchange(request, half_close=True).status, 400)) == []


def _ensure_status(status: int, expected: int) -> None:
    assert status == expected


def test_a_healthy_stream_with_pauses_longer_than_the_timeouts_is_not_touched(target: Target) -> None:
    with httpx.stream(
        "POST", target.server.url + "/stream-generate", json={"prompt": "delay=1.7 say a"}, timeout=GUARD_S
    ) as reply:
        lines = [json.loads(line) for line in reply.iter_lines()]
    assert [line.get("token") for line in lines] == ["a", None]
