"""A request is the same however its bytes are cut, and is read exactly as gunicorn reads it."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http.errors import ParseException
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader
from hypothesis import given, settings
from hypothesis import strategies as st

from minivault.errors import TooLarge
from minivault.worker.body import BodyPending
from minivault.worker.reception import Patience, Reception

CFG = Config()
CLIENT = ("127.0.0.1", 1)
LIMIT = 1000
PATIENCE = Patience(header_s=10, body_s=60, body_rate=100, max_body_bytes=LIMIT)
HEAD = b"POST /generate HTTP/1.1\r\nHost: localhost\r\n"
NEXT = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def received(*pieces: bytes, now: float = 0) -> Reception:
    reception = Reception(CFG, CLIENT, PATIENCE, 0)
    for piece in pieces:
        reception.feed(piece, now)
    return reception


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]


def verdict(data: bytes) -> bytes | None:
    """The body as gunicorn reads it from bytes that are all there; None where it refuses."""
    try:
        body: bytes = Request(CFG, IterUnreader([data]), CLIENT).body.read()
        return body
    except (ParseException, OSError):
        return None


def our_verdict(reception: Reception) -> bytes | None:
    try:
        return reception.body.read() if reception.request is not None else None
    except (BodyPending, TooLarge, ValueError):
        return None


cuts = st.lists(st.integers(0, 500), max_size=6)
chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


def chunked(parts: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    framed = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n" + trailers + b"\r\n"


@given(chunks, st.sampled_from([b"", b";a", b' ;a="b"']), st.sampled_from([b"", b"X: y\r\n"]), cuts)
def test_a_chunked_body_is_whole_however_it_is_cut(
    parts: list[bytes], extension: bytes, trailers: bytes, at: list[int]
) -> None:
    reception = received(*cut(chunked(parts, extension, trailers) + NEXT, at))
    assert (reception.phase, reception.body.read()) == ("whole", b"".join(parts))
    assert reception.unreader.take_buffered() == NEXT


@given(st.binary(max_size=200), cuts)
def test_a_body_of_known_length_is_whole_however_it_is_cut(body: bytes, at: list[int]) -> None:
    reception = received(*cut(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body + NEXT, at))
    assert (reception.phase, reception.body.read(), reception.body.read()) == ("whole", body, b"")
    assert reception.unreader.take_buffered() == NEXT


@settings(max_examples=500)
@given(
    st.lists(
        st.sampled_from(
            b'5|0|a|\r\n|\n|\r| |;|x|"|hello|\t|-|\x00|\xff|5\r\nhello\r\n|0\r\n\r\n|Host: x|X: y\r\n|0x5|1_0'.split(
                b"|"
            )
        ),
        max_size=12,
    ).map(b"".join),
    cuts,
)
def test_a_body_that_gunicorn_would_refuse_is_never_taken_for_another(body: bytes, at: list[int]) -> None:
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + body
    assert our_verdict(received(*cut(data, at))) == verdict(data)


@given(st.binary(max_size=300), cuts)
def test_a_header_that_gunicorn_would_refuse_is_refused(head: bytes, at: list[int]) -> None:
    data = b"GET / HTTP/1.1\r\n" + head + b"\r\n\r\n"
    reception = received(*cut(data, at))
    assert (reception.phase == "malformed") == (verdict(data[: data.find(b"\r\n\r\n") + 4]) is None)
    assert reception.refusal[:1] in (b"", b"4")


def test_a_body_that_has_not_come_ends_the_request_without_a_reply() -> None:
    reception = received(HEAD + b"Content-Length: 5\r\n\r\nhell")
    with pytest.raises(BodyPending):
        reception.body.read()
    reception.feed(b"o", 1)
    assert reception.body.read() == b"hello"


def test_a_body_right_behind_its_header_is_waited_for_and_a_slower_one_is_asked_about() -> None:
    reception = received(HEAD + b"Content-Length: 5\r\n\r\n")
    assert reception.is_waiting
    reception.feed(b"h", 0)
    assert not reception.is_waiting
    reception.is_screened = True
    assert reception.is_waiting


def test_whoever_expects_to_be_asked_is_asked_at_once() -> None:
    reception = received(HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
    assert (reception.is_waiting, reception.expects_continue) == (False, True)
    assert not reception.request._expected_100_continue, "gunicorn would ask before anyone has looked at the header"


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 1001\r\n\r\n",
        HEAD + b"Content-Length: %s\r\n\r\n" % (b"9" * 4000),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n3e8\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
    ],
)
def test_a_body_beyond_the_limit_is_known_before_it_is_sent(data: bytes) -> None:
    reception = received(data)
    assert reception.phase == "whole"
    with pytest.raises(TooLarge):
        reception.body.read()


@pytest.mark.parametrize(("end", "error"), [("late", TimeoutError), ("cut", ValueError)])
def test_a_chunked_body_that_does_not_come_says_why(end: Any, error: type[Exception]) -> None:
    reception = received(HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel")
    reception.body.give_up(end)
    with pytest.raises(error):
        reception.body.read()


def test_a_body_of_known_length_that_is_cut_is_as_short_as_it_is() -> None:
    reception = received(HEAD + b"Content-Length: 5\r\n\r\nhel")
    reception.body.give_up("cut")
    assert io.BufferedReader(reception.body).read() == b"hel"


def test_a_header_has_its_time_and_each_byte_of_a_body_buys_some() -> None:
    reception = received(HEAD, now=3)
    assert reception.deadline == 10
    reception.feed(b"Content-Length: 900\r\n\r\n", 4)
    assert reception.deadline == 5, "then the application is asked"
    reception.is_screened = True
    assert reception.deadline == 14
    reception.feed(b"x" * 200, 5)
    assert reception.deadline == 16, "200 bytes at 100 bytes a second"


UPLOAD = b"POST /v1/files HTTP/1.1\r\nHost: localhost\r\n"


@given(st.binary(max_size=3000), cuts)
def test_a_file_that_is_uploaded_may_be_larger_and_takes_no_memory(body: bytes, at: list[int]) -> None:
    patience = Patience(header_s=10, body_s=60, body_rate=1, max_body_bytes=100, max_upload_bytes=3000)
    head = UPLOAD + b"Content-Length: %d\r\n\r\n" % len(body)
    reception = Reception(CFG, CLIENT, patience, 0)
    for piece in (head, *cut(body, at)):
        reception.feed(piece, 0)
    assert reception.num_bytes <= len(head)
    assert b"".join(iter(lambda: reception.body.read(700), b"")) == body


def test_a_file_that_is_too_large_is_refused_by_its_own_setting() -> None:
    patience = Patience(header_s=10, body_s=60, body_rate=1, max_body_bytes=LIMIT, max_upload_bytes=3000)
    for framing in (b"Content-Length: 3001\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nbb9\r\n"):
        reception = Reception(CFG, CLIENT, patience, 0)
        reception.feed(UPLOAD + framing, 0)
        with pytest.raises(TooLarge, match="MINIVAULT_MAX_FILE_MB"):
            reception.body.read()


def test_no_body_has_more_time_than_the_limit_for_it_whole() -> None:
    patience = Patience(header_s=10, body_s=60, body_rate=1, max_body_bytes=LIMIT)
    reception = Reception(CFG, CLIENT, patience, 0)
    reception.feed(HEAD + b"Content-Length: 900\r\n\r\n" + b"x" * 800, 0)
    reception.is_screened = True
    assert reception.deadline == 60


def test_a_connection_is_closed_behind_a_reply_unless_the_body_was_read_whole() -> None:
    reception = received(HEAD + b"Content-Length: 5\r\n\r\nhell")
    reception.begin(may_keep=True)
    assert (reception.request.should_close(), reception.finish_body()) == (True, False)
    reception.feed(b"o", 0)
    reception.begin(may_keep=True)
    assert (reception.request.should_close(), reception.finish_body()) == (False, True)
    reception.begin(may_keep=False)
    assert reception.request.should_close()
