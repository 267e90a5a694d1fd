from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.wire.framing import NAMED_SSE, NDJSON, SSE, preferred


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("application/x-ndjson", False),
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=0.5, application/x-ndjson", False),
        ("text/event-stream, application/x-ndjson;q=0.5", True),
        ("text/event-stream, */*;q=0.1", True),
        ("text/*", False),
        ("text/event-stream;q=broken", False),
    ],
)
def test_sse_is_chosen_only_when_asked_for_by_name(accept: str, expected: bool) -> None:
    assert preferred(accept) is (SSE if expected else NDJSON)


@given(st.dictionaries(st.text(), st.text()))
def test_a_line_is_one_line_whatever_it_holds(value: dict[str, str]) -> None:
    line = NDJSON.frame(value)
    assert line.endswith(b"\n")
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert json.loads(line) == value


@given(st.dictionaries(st.text(), st.text()))
def test_an_event_is_one_event_whatever_it_holds(value: dict[str, str]) -> None:
    event = SSE.frame(value)
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    assert json.loads(event[len(b"data: ") :]) == value


@given(st.dictionaries(st.text(), st.text()))
def test_a_named_event_bears_its_type(value: dict[str, str]) -> None:
    event = NAMED_SSE.frame(value | {"type": "error"})
    assert event == b"event: error\n" + SSE.frame(value | {"type": "error"})
