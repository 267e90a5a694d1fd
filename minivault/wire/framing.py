"""How the objects of a stream are put on the wire: lines of JSON, or server-sent events.

ASCII only, so that no character inside an object can be taken for a line break.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_encode = json.JSONEncoder().encode


@dataclass(frozen=True, slots=True)
class Framing:
    """`frame` makes the bytes of one object; `tail` follows the last one of a stream that did not break."""

    content_type: str
    frame: Callable[[dict[str, Any]], bytes]
    tail: bytes = b""


def _line(value: dict[str, Any]) -> bytes:
    return f"{_encode(value)}\n".encode("ascii")


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {_encode(value)}\n\n".encode("ascii")


def _named_event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {_encode(value)}\n\n".encode("ascii")


NDJSON = Framing("application/x-ndjson", _line)
SSE = Framing("text/event-stream", _event, b"data: [DONE]\n\n")
NAMED_SSE = Framing("text/event-stream", _named_event)
"""Each event bears its object's `type` as a name; the last one's name says that it is the last."""


def preferred(accept: str) -> Framing:
    """SSE where an `Accept` header asks for it by name, and at least as strongly as for NDJSON by name; else NDJSON."""
    if SSE.content_type not in accept.lower():
        return NDJSON
    qualities = _qualities(accept)
    sse = qualities.get(SSE.content_type, 0.0)
    return SSE if sse > 0 and sse >= qualities.get(NDJSON.content_type, 0.0) else NDJSON


def _qualities(accept: str) -> dict[str, float]:
    """Media type → q, for each type named in an `Accept` header (RFC 9110 §12.5.1); a broken q counts as 0."""
    result: dict[str, float] = {}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            result[media] = float(quality)
        except ValueError:
            result[media] = 0.0
    return result
