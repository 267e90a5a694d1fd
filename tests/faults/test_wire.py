"""Requests that are not what they should be: refused before the model is touched, each with the status that fits."""

from __future__ import annotations

import json

import pytest

from tests.faults.raw import Target, post_bytes

pytestmark = pytest.mark.server

GOOD = b'{"prompt": "say x"}'
HEAD = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(autouse=True)
def nothing_is_generated(request: pytest.FixtureRequest, target: Target) -> object:
    """No fault of this file may reach the model or the vault, unless the test says so."""
    known = len(target.records())
    yield
    if "may_generate" not in request.fixturenames:
        target.wait_idle()
        assert len(target.records()) == known


@pytest.fixture
def may_generate() -> None:
    """For requests that are answered after all."""


def chunked(*chunks: bytes) -> bytes:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + pieces


def test_a_chunked_body_over_the_limit_is_refused_not_cut(target: Target) -> None:
    """Row 9."""
    filler = b" " * 65536
    reply = target.exchange(chunked(GOOD, *[filler] * 17, b""))
    assert reply.status == 413


def test_a_long_body_is_refused_by_its_length_alone(target: Target) -> None:
    reply = target.exchange(post_bytes(b"", length=1 << 40))
    assert (reply.status, reply.error["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "chunk",
    [b"zz\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloX\r\n", b"FFFFFFFFFFFFFFFFF\r\nx", b"5;\x00\r\nhello\r\n0\r\n\r\n"],
)
def test_a_malformed_chunk_is_a_400(target: Target, chunk: bytes) -> None:
    """Row 10."""
    reply = target.exchange(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk, half_close=True)
    assert reply.status == 400


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, id="CL and TE"),
        pytest.param(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400, id="two lengths"),
        pytest.param(HEAD + b"Content-Length: -1\r\n\r\n", 400, id="negative length"),
        pytest.param(HEAD + b"Content-Length: 5, 5\r\n\r\nhello", 400, id="list of lengths"),
        pytest.param(HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400, id="unknown coding"),
        pytest.param(b"GET /health HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 400, id="two hosts"),
        pytest.param(b"GET /health HTTP/1.1\nHost: localhost\n\n", 400, id="bare line feeds"),
        pytest.param(b"GET /he\x00alth HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, id="NUL in the path"),
        pytest.param(b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, id="9 kB line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431, id="200 fields"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 9000 + b"\r\n\r\n", 431, id="9 kB field"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\nX y: z\r\n\r\n", 400, id="space in a field name"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n folded: z\r\n\r\n", 400, id="folded field"),
        pytest.param(b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, id="HTTP/9.9"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, id="TLS"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, id="HTTP/2"),
        pytest.param(b"garbage\r\n\r\n", 400, id="garbage"),
    ],
)
def test_what_is_no_clean_http_is_refused_and_the_connection_closed(
    target: Target, request_: bytes, status: int
) -> None:
    """Row 11. These replies are gunicorn's own."""
    reply = target.exchange(request_)
    assert (reply.status, reply.is_closed) == (status, True)


def test_a_header_without_end_is_dropped(target: Target) -> None:
    """Row 11."""
    reply = target.exchange(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 300_000)
    assert reply.is_closed
    assert reply.status in (0, 431)  # the rest of what was sent may reset the connection before the reply is read


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (None, 400),
        ("", 400),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("192.0.2.1", 400),
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_only_our_own_host_names_are_served(target: Target, host: str | None, status: int, version: str) -> None:
    """Row 12."""
    field = "" if host is None else f"Host: {host}\r\n"
    assert target.exchange(f"GET /health HTTP/{version}\r\n{field}\r\n".encode()).status == status


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param(b"[" * 100_000, None, id="100,000 brackets"),
        pytest.param(b'{"prompt":' * 5000 + b"1" + b"}" * 5000, None, id="5,000 objects"),
        pytest.param(b'{"prompt": "x", "temperature": NaN}', None, id="NaN"),
        pytest.param(b'{"prompt": "x", "temperature": -Infinity}', None, id="infinity"),
        pytest.param(b'{"prompt": "x", "temperature": 1e999}', None, id="1e999"),
        pytest.param(b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", None, id="5,000 digits"),
        pytest.param(b'{"prompt": "x", "prompt": "y"}', None, id="duplicate key"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, None, id="byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), None, id="UTF-16"),
        pytest.param(b'{"prompt": "\xff"}', None, id="invalid UTF-8"),
        pytest.param(b'{"prompt": "a\x01b"}', None, id="raw control character"),
        pytest.param(b'{"prompt": "\\ud800"}', None, id="lone surrogate"),
        pytest.param(b'{"prompt": "x"} trailing', None, id="trailing text"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"null", None, id="null"),
        pytest.param(b'[{"prompt": "x"}]', None, id="array"),
        pytest.param(b'{"prompt": "x", "tools": [{}]}', "tools", id="refused field"),
        pytest.param(b'{"prompt": "x", "max_tokens": true}', "max_tokens", id="bool as int"),
        pytest.param(b'{"prompt": "x", "max_tokens": -2}', "max_tokens", id="negative max_tokens"),
        pytest.param(b'{"prompt": "x", "max_tokens": 99999999999999999999}', "max_tokens", id="huge max_tokens"),
        pytest.param(b'{"prompt": "x", "max_tokens": "5"}', "max_tokens", id="string as int"),
        pytest.param(b'{"prompt": "x", "temperature": -1}', "temperature", id="temperature -1"),
        pytest.param(b'{"prompt": "x", "temperature": 1e308}', "temperature", id="temperature 1e308"),
        pytest.param(b'{"prompt": "x", "seed": -1}', "seed", id="negative seed"),
        pytest.param(b'{"prompt": "x", "top_k": -1}', "top_k", id="negative top_k"),
        pytest.param(b'{"prompt": "x", "stream": 1}', "stream", id="int as bool"),
        pytest.param(b'{"prompt": ""}', "prompt", id="empty prompt"),
        pytest.param(b'{"prompt": null}', None, id="null prompt"),
        pytest.param(b'{"prompt": ["x"]}', "prompt", id="list prompt"),
        pytest.param(b'{"prompt": "x", "stop": ' + json.dumps(["s"] * 1000).encode() + b"}", "stop", id="1,000 stops"),
        pytest.param(b'{"prompt": "' + b"x" * 5000 + b'"}', "prompt", id="longer than the context"),
    ],
)
def test_json_that_is_not_what_it_should_be_is_a_400_that_names_the_field(
    target: Target, body: bytes, field: str | None
) -> None:
    """Rows 13 and 14."""
    reply = target.post(body)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    if field is not None:
        assert error["field"] == field
    assert error["request_id"] == reply.headers["X-Request-Id"]
    assert "Traceback" not in reply.text and "/minivault/" not in reply.text


@pytest.mark.parametrize(
    ("kind", "status"),
    [("text/plain", 415), ("application/xml", 415), ("multipart/form-data; boundary=x", 415)],
)
def test_a_wrong_content_type_is_a_415(target: Target, kind: str, status: int) -> None:
    """Row 14."""
    assert target.post(GOOD, Content_Type=kind).status_code == status


def test_a_body_in_an_unknown_coding_is_a_415(target: Target) -> None:
    assert target.post(GOOD, Content_Encoding="br").status_code == 415


def test_a_body_that_is_not_what_its_coding_says_is_a_400(target: Target) -> None:
    assert target.post(GOOD, Content_Encoding="gzip").status_code == 400


def test_a_prompt_of_10_mb_is_a_413(target: Target) -> None:
    """Row 14."""
    request = post_bytes(b'{"prompt": "' + b"x" * 10_000_000 + b'"}')
    with target.connect() as sock:
        sock.sendall(request[:1000])
        assert b" 413 " in sock.recv(100)


@pytest.mark.usefixtures("may_generate")
@pytest.mark.parametrize(
    "prompt",
    [
        'x\n{"type":"close"}\n',
        "x\x1b[2J\x1b]0;title\x07",
        "x\u2028y\u2029z\x85",
        "x\u202etxt.exe\u2066",
        "x\x00y",
        "x\ufeffy\uffff",
        "\U0010ffff",
        "x\r\n\r\n\t\x7f",
    ],
)
def test_a_hostile_prompt_is_one_line_of_the_vault_and_comes_back_unchanged(target: Target, prompt: str) -> None:
    """Rows 13 and 44: NUL and control characters are text like any other; surrogates are none and are refused."""
    [record] = target.new_records(lambda: target.answer("say " + prompt))
    assert record["prompt"] == "say " + prompt
    assert record["response"] == prompt
