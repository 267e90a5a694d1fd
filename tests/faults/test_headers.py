"""Header fields made by chance: whatever a client writes into them is its own fault, never a 5xx."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.raw import Target

pytestmark = pytest.mark.server

READ_BY_SOMEONE = [
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Method",
    "Authorization",
    "Cache-Control",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-MD5",
    "Content-Type",
    "Cookie",
    "Date",
    "Expect",
    "Forwarded",
    "From",
    "Host",
    "If-Match",
    "If-Modified-Since",
    "If-None-Match",
    "If-Range",
    "If-Unmodified-Since",
    "Keep-Alive",
    "Max-Forwards",
    "Origin",
    "PATH_INFO",
    "Pragma",
    "Proxy",
    "Proxy-Authorization",
    "Range",
    "Referer",
    "REMOTE_ADDR",
    "REMOTE_USER",
    "SCRIPT_NAME",
    "SCRIPT-NAME",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "SERVER_NAME",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "User-Agent",
    "Via",
    "wsgi.url_scheme",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Proto",
    "X-Forwarded-Protocol",
    "X-Forwarded-Ssl",
    "X-Http-Method-Override",
    "X-Real-Ip",
    "X-Request-Id",
    "x-stainless-retry-count",
    "x-stainless-timeout",
]
TYPICAL = [
    "/zzz",
    "0",
    "1",
    "-1",
    "1.5",
    "1e999",
    "0x10",
    "NaN",
    "*",
    "*/*",
    "text/html;q=9e99",
    "application/json;charset=x",
    "bytes=0-",
    "Basic",
    "bearer",
    "Bearer",
    "keep-alive",
    "close",
    "chunked",
    "gzip",
    "100-continue",
    "https",
    "http",
    "localhost",
    "[::1]:99999",
    "localhost:0",
    "null",
    "[",
    "]",
    "[]",
    "[::ffff:1",
    "é=?",
    "٣",
    "²",
    '"unclosed',
    'W/"x"',
    "a=b;",
    "==",
    ",,",
    ";;;",
    "%%%",
    "%00",
    "\\",
    "://",
]

names = st.sampled_from(READ_BY_SOMEONE) | st.from_regex(r"\A[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}\Z")
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=30)
values = st.one_of(
    st.sampled_from([value for value in TYPICAL if value.isascii()]),
    texts,
    st.sampled_from("019-.,;= aé²").map(lambda character: character * 5000),
    st.tuples(st.sampled_from(["Basic ", "Bearer ", "text/html;q=", "bytes=", "max-age="]), texts).map("".join),
)
fields = st.lists(st.tuples(names, values), min_size=1, max_size=4)
paths = st.sampled_from(["/generate", "/v1/chat/completions", "/api/chat", "/health", "/", "/nowhere"])
BODIES = {
    "/generate": b'{"prompt": "say x"}',
    "/v1/chat/completions": b'{"model": "scripted", "messages": [{"role": "user", "content": "x"}]}',
    "/api/chat": b'{"model": "scripted", "stream": false, "messages": [{"role": "user", "content": "x"}]}',
}
fuzzed = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(paths, fields, st.booleans())
def test_any_header_on_a_socket_gets_a_decent_reply(
    shared_server: Target, path: str, fields: list[tuple[str, str]], has_host: bool
) -> None:
    body = BODIES.get(path, b"")
    lines = [("Host", "localhost")] * has_host + [("Content-Length", str(len(body)))] * bool(body) + fields
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    request = f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body
    reply = shared_server.exchange(request, half_close=True)
    assert 100 <= reply.status < 500, (request, reply.data[:300])


@fuzzed
@given(paths, fields)
def test_any_header_to_the_application_gets_a_decent_reply(
    client: FlaskClient, path: str, fields: list[tuple[str, str]]
) -> None:
    body = BODIES.get(path)
    method = "GET" if body is None else "POST"
    plain = FlaskClient(client.application, client.application.response_class)
    reply = plain.open(path, method=method, headers=fields, data=body)
    assert reply.status_code < 500, (path, fields, reply.text)


@pytest.mark.parametrize(
    "field",
    ["x-stainless-retry-count: " + "9" * 5000, "SCRIPT_NAME: /zzz", "Transfer-Encoding: zzz", "Host: [::1]:99999"],
)
@pytest.mark.parametrize("path", BODIES)
def test_headers_that_were_a_server_error_once(shared_server: Target, path: str, field: str) -> None:
    host = "" if field.startswith("Host") else "Host: localhost\r\n"
    length = "" if field.startswith("Transfer") else f"Content-Length: {len(BODIES[path])}\r\n"
    head = f"POST {path} HTTP/1.1\r\n{host}{length}{field}\r\n\r\n"
    assert 200 <= shared_server.exchange(head.encode() + BODIES[path], half_close=True).status < 500
