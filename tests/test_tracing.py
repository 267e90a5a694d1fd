"""A client's trace: read as the W3C says, and named in the log."""

from __future__ import annotations

import logging

import pytest

from minivault import tracing

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (GOOD, TRACE),
        (f"  {GOOD}\t", TRACE),
        (f"cc-{TRACE}-{PARENT}-01", TRACE),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-holds", TRACE),
        (f"cc-{TRACE}-{PARENT}-01.more", ""),
        (f"{GOOD}-more", ""),
        (f"ff-{TRACE}-{PARENT}-01", ""),
        (f"00-{TRACE.upper()}-{PARENT}-01", ""),
        (f"00-{'0' * 32}-{PARENT}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE[1:]}-{PARENT}-01", ""),
        (f"00-{TRACE}-{PARENT}-1", ""),
        (f"00-{TRACE}-{PARENT}", ""),
        (f"{GOOD},{GOOD}", ""),
        (f"{GOOD}\n", ""),
        ("", ""),
    ],
)
def test_a_traceparent_that_breaks_the_format_is_as_good_as_none(header: str, trace_id: str) -> None:
    assert tracing.trace_id_of(header) == trace_id


def test_a_log_line_on_the_way_of_a_traced_request_names_the_trace_once() -> None:
    record = logging.LogRecord("minivault.api", logging.ERROR, "", 0, "failed in %s", ("POST /x",), None)
    tracing.current.set(TRACE)
    try:
        assert tracing.mark(record)
        assert tracing.mark(record)
    finally:
        tracing.current.set("")
    assert record.getMessage() == f"failed in POST /x (trace {TRACE})"
