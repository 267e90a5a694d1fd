"""What comes over a connection to an engine: cut anywhere, given back once, and never ended for somebody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.service.upstream.connection import Chunked, Exchange, Malformed, Pool
from tests.live import GUARD_S
from tests.service.upstream.engine import Engine, engine


def chunked(pieces: list[bytes]) -> bytes:
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nTrailer: x\r\n\r\n"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.integers(1, 50))
def test_a_chunked_body_is_the_same_however_it_is_cut(pieces: list[bytes], size: int) -> None:
    sent, body = chunked(pieces), Chunked()
    got = b"".join(body.feed(sent[at : at + size]) for at in range(0, len(sent), size))
    assert (got, body.is_whole) == (b"".join(pieces), True)


@pytest.mark.parametrize("sent", [b"x\r\n", b"-5\r\n", b"0x5\r\n", b"+5\r\n", b"5 5\r\n", b"f" * 17 + b"\r\n"])
def test_a_chunk_without_a_size_is_refused(sent: bytes) -> None:
    with pytest.raises(Malformed):
        Chunked().feed(sent)


def test_the_head_of_a_chunk_has_an_end() -> None:
    body = Chunked()
    with pytest.raises(Malformed):
        for _ in range(20):
            body.feed(b"5;" + b"a" * 5000)


@pytest.fixture
def there() -> Iterator[Engine]:
    with engine() as running:
        yield running


def asked(pool: Pool) -> Exchange:
    return pool.send("POST", "/v1/chat/completions", b"{}", {"Content-Type": "application/json"})


def said(exchange: Exchange) -> list[bytes]:
    exchange.response(GUARD_S)
    return [line for lines in exchange.lines() for line in lines if line]


def test_an_exchange_that_is_over_ends_nobody_elses(there: Engine) -> None:
    """Its connection belongs to the next one by then."""
    pool = Pool(there.url)
    first = asked(pool)
    assert said(first)[-1] == b"data: [DONE]"
    first.close()
    second = asked(pool)
    first.abort()
    first.close()
    assert said(second)[-1] == b"data: [DONE]"
    second.close()
    assert len(there.connections) == 1
    pool.close()


def test_a_kept_connection_that_has_been_closed_is_not_used() -> None:
    """A server that closes what is idle for long, without a word."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pool = Pool(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        for _ in range(2):
            exchange = asked(pool)
            there, _ = listening.accept()
            there.sendall(reply)
            assert exchange.response(GUARD_S).read() == b"ok"
            exchange.close()
            assert not exchange.is_reused
            there.close()
        pool.close()


def test_a_connection_that_is_closed_for_good_is_not_kept(there: Engine) -> None:
    """Looks come every few seconds, over fresh connections: kept ones would pile up at the engine."""
    pool = Pool(there.url)
    first = asked(pool)
    assert said(first)
    first.close(is_last=True)
    second = asked(pool)
    assert not second.is_reused
    assert said(second)
    second.close()
    pool.close()


def test_lines_are_the_same_however_they_come_and_a_long_one_takes_its_length() -> None:
    long = b"x" * (8 << 20)
    sent = b"one\n\ntwo\n" + long + b"\nthree"
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(sent)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pool = Pool(f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        exchange = asked(pool)
        there, _ = listening.accept()
        sending = threading.Thread(target=there.sendall, args=(reply + sent,))
        sending.start()
        exchange.response(GUARD_S)
        lines = [line for some in exchange.lines() for line in some]
        sending.join()
        there.close()
        exchange.close()
        pool.close()
    assert lines == [b"one", b"", b"two", long, b"three"]
