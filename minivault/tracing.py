"""W3C Trace Context: which trace of its client's a request belongs to, for its record, its reply and the log.

Only `traceparent` is read (https://www.w3.org/TR/trace-context/, section 3.2). As it demands, a value that breaks the
format is as good as none, and one of a later version is read as far as this version goes.
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar

HEADER = "traceparent"
REPLY_HEADER = "X-Trace-Id"
current: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request that this thread is at, empty where it named none."""

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id_of(traceparent: str) -> str:
    """The 32 hex digits of the trace that a `traceparent` names; empty where it is none."""
    match = _TRACEPARENT.fullmatch(traceparent.strip(" \t"))
    if match is None:
        return ""
    version, trace_id, more = match.groups()
    return trace_id if more is None or version != "00" else ""


def mark(record: logging.LogRecord) -> bool:
    """A filter for log handlers: what is logged on the way of a traced request names its trace."""
    trace_id = current.get()
    if trace_id and not hasattr(record, "trace_id"):
        record.msg, record.args = f"{record.getMessage()} (trace {trace_id})", ()
        record.trace_id = trace_id
    return True
