"""The application log says what happened, never what was said: no prompt, no key, no line of a malformed request."""

from __future__ import annotations

import pytest

from tests.faults.raw import Target

pytestmark = pytest.mark.server

SECRET = "XyzzyMark"
HEAD = f"GET /health HTTP/1.1\r\nHost: localhost\r\n{{}}{SECRET}\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        HEAD.format("Authorization: Bearer mv_aaaaaaaaaaaa_"),
        HEAD.format("Authorization Bearer "),
        HEAD.format("Authorization : Bearer "),
        HEAD.format(" Authorization: Bearer "),
        HEAD.format("Content-Length: "),
        HEAD.format("Authorization: Bearer \x00"),
        f"GET /?key={SECRET} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"GET /?key={SECRET}\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"GET /{SECRET}\r\n\r\n",
        f"{SECRET} /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        f"Gxx {SECRET}\r\n\r\n",
    ],
)
def test_no_part_of_a_request_is_logged_however_malformed(target: Target, request_: str) -> None:
    """Row 15."""
    target.exchange(request_.encode("latin-1"))
    assert SECRET not in target.server.log


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate", {"prompt": f"say {SECRET}"}),
        ("/generate", {"prompt": f"raise=0 say {SECRET}"}),
        ("/stream-generate", {"prompt": f"oom=2 say {SECRET}"}),
        ("/generate", {"prompt": SECRET * 1000}),
        ("/generate", {"prompt": SECRET, "colour": SECRET}),
        ("/generate", {"prompt": SECRET, "model": SECRET}),
        ("/generate", [SECRET]),
        (f"/{SECRET}", {"prompt": SECRET}),
        ("/v1/chat/completions", {"model": "scripted", "messages": [{"role": "user", "content": SECRET}], "n": SECRET}),
        ("/api/chat", {"model": SECRET, "messages": [{"role": "user", "content": SECRET}]}),
    ],
)
def test_no_prompt_is_logged_whatever_becomes_of_it(target: Target, path: str, body: object) -> None:
    target.post(body, path)
    assert SECRET not in target.server.log
