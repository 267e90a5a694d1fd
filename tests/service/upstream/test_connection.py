"""What comes over a connection to an engine: cut anywhere, given back once, and never ended for somebody else."""

from __future__ import annotations

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
