"""What a file of requests may hold, and what is said of one that may not."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from minivault.batches.lines import AROUND_BODY, MAX_FAULTS, MAX_LINES, Judged, judge, read_lines

URL = "/v1/embeddings"
LIMIT = 1000


def line(custom_id: Any = "a", **changes: Any) -> bytes:
    members = {"custom_id": custom_id, "method": "POST", "url": URL, "body": {"model": "m", "input": "x"}, **changes}
    return json.dumps({key: value for key, value in members.items() if value is not ...}).encode() + b"\n"


def judged(*lines: bytes) -> Judged:
    return judge(io.BytesIO(b"".join(lines)), URL, LIMIT)


def faults(*lines: bytes) -> list[tuple[int | None, str, str | None]]:
    return [(fault.line, fault.code, fault.param) for fault in judged(*lines).faults]


def test_a_good_file_has_a_model_and_a_number_of_requests() -> None:
    found = judged(line("a"), b"\r\n", line("b").rstrip(), b"\r\n", b"  \n", line("c").rstrip())
    assert (found.num_lines, found.model, found.faults) == (3, "m", ())


def test_a_request_is_read_with_its_line_and_its_body() -> None:
    body = {"model": "m", "input": "Hé\u2028 😀", "n": [1.5, None, True], "z": 1, "a": 2}
    [found] = read_lines(io.BytesIO(b"\n" + line("ü", body=body)), URL, LIMIT)
    assert found.request.number == 2
    assert found.request.custom_id == "ü"
    assert json.loads(found.request.body) == body
    assert list(json.loads(found.request.body)) == list(body)


@pytest.mark.parametrize(
    ("bad", "code", "param"),
    [
        (b"not json\n", "invalid_json_line", None),
        (b"[1]\n", "invalid_json_line", None),
        (b'{"custom_id": "a", "custom_id": "b"}\n', "invalid_json_line", None),
        (b'{"custom_id": NaN}\n', "invalid_json_line", None),
        (b"\x00\xff\xfe\x80\n", "invalid_json_line", None),
        (line(...), "missing_required_parameter", "custom_id"),
        (line(""), "invalid_value", "custom_id"),
        (line(5), "invalid_value", "custom_id"),
        (line("x" * 513), "invalid_value", "custom_id"),
        (line(method="GET"), "invalid_value", "method"),
        (line(method=...), "missing_required_parameter", "method"),
        (line(url="/v1/responses"), "invalid_value", "url"),
        (line(body=...), "missing_required_parameter", "body"),
        (line(body="x"), "invalid_value", "body"),
        (line(body={"input": "x"}), "invalid_value", "body.model"),
        (line(body={"model": "m", "stream": True}), "invalid_value", "body.stream"),
        (line(more=1), "unknown_parameter", "more"),
        (line(body={"model": "m", "input": "x" * (LIMIT + AROUND_BODY)}), "line_too_long", None),
    ],
)
def test_a_bad_line_is_told_by_its_number(bad: bytes, code: str, param: str | None) -> None:
    assert faults(line("first"), bad, line("last")) == [(2, code, param)]


def test_a_line_without_an_end_that_is_too_long_is_one_fault() -> None:
    assert faults(b"x" * (1 << 20)) == [(1, "line_too_long", None)]


def test_lines_are_told_apart_by_their_ids_and_are_for_one_model() -> None:
    other = line("c", body={"model": "n", "input": "x"})
    assert faults(line("a"), line("b"), line("a"), other) == [
        (3, "duplicate_custom_id", "custom_id"),
        (4, "mismatched_model", "body.model"),
    ]
    assert "line 1" in judged(line("a"), line("b"), line("a")).faults[0].message


def test_an_empty_file_and_one_with_too_many_requests_are_no_batch() -> None:
    assert faults() == [(None, "empty_file", None)]
    assert faults(b"\n\n") == [(None, "empty_file", None)]
    assert faults(*(line(str(n)) for n in range(MAX_LINES + 2))) == [(MAX_LINES + 1, "too_many_requests", None)]


def test_only_so_many_faults_are_told() -> None:
    assert len(faults(*[b"x\n"] * 1000)) == MAX_FAULTS
