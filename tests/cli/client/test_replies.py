"""Bytes of a server into objects and errors, whatever the network does to them."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault import errors
from minivault.cli.client.replies import LineParser, error_from_reply
from minivault.errors import MiniVaultError, ServerError

LINES: list[dict[str, Any]] = [
    {"token": "Hé", "index": 0},
    {"token": "\n\u2028 ", "index": 1},
    {"done": True, "finish_reason": "stop"},
]
BODY = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in LINES)


def tree(root: type[MiniVaultError]) -> list[type[MiniVaultError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in tree(child))]


@given(st.lists(st.integers(0, len(BODY)), max_size=12))
def test_any_cut_of_the_bytes_gives_the_same_lines(cuts: list[int]) -> None:
    parser, places = LineParser(), sorted([0, *cuts, len(BODY)])
    read = [line for a, b in pairwise(places) for line in parser.feed(BODY[a:b])]
    parser.close()
    assert read == LINES


@given(st.integers(0, len(BODY) - 1))
def test_a_body_that_ends_anywhere_before_its_end_is_never_whole(end: int) -> None:
    parser = LineParser()
    list(parser.feed(BODY[:end]))
    with pytest.raises(ServerError, match="cut"):
        parser.close()


@given(st.binary(max_size=200))
def test_a_line_that_is_no_object_is_never_taken_for_an_answer(line: bytes) -> None:
    parser = LineParser()
    try:
        read = list(parser.feed(line.replace(b"\n", b" ") + b"\n"))
    except MiniVaultError:
        return
    assert all(isinstance(value, dict) for value in read)


@pytest.mark.parametrize("kind", [kind for kind in tree(MiniVaultError) if 400 <= kind.status < 600])
def test_every_error_of_the_tree_survives_the_wire(kind: type[MiniVaultError]) -> None:
    body = json.dumps({"error": {"code": kind.code, "message": "why", "field": None, "request_id": "r"}}).encode()
    error = error_from_reply(kind.status, {"retry-after": "7"}, body)
    assert (error.code, error.message) == (kind.code, "why")
    if isinstance(error, (errors.Unavailable, errors.QuotaExceeded)):
        assert error.retry_after_s == 7


@pytest.mark.parametrize("header", ["", "soon", "-1", "²", "Sat, 21 Nov 2026 12:00:00 GMT"])
def test_a_retry_after_that_is_no_number_of_seconds_means_one_second(header: str) -> None:
    error = error_from_reply(503, {"retry-after": header}, b'{"error": {"code": "loading", "message": "m"}}')
    assert isinstance(error, errors.Loading)
    assert error.retry_after_s == 1


@given(st.integers(400, 599), st.binary(max_size=300))
def test_any_other_body_still_gives_an_error_with_the_status_in_it(status: int, body: bytes) -> None:
    error = error_from_reply(status, {}, b"<" + body)
    assert str(status) in error.message
