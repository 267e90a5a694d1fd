"""Server-sent events: `data:` lines, blank line after each; and the choice between SSE and NDJSON by `Accept`."""

from __future__ import annotations

import json
from typing import Any

CONTENT_TYPE = "text/event-stream"
DONE = b"data: [DONE]\n\n"


def encode(value: dict[str, Any], event: str | None = None) -> bytes:
    """One event. ASCII only, so that no character inside can be taken for a line break."""
    head = f"event: {event}\n" if event else ""
    return f"{head}data: {json.dumps(value, separators=(', ', ': '))}\n\n".encode("ascii")


def comment(text: str) -> bytes:
    """A line that clients ignore: keeps a silent connection open."""
    return f": {text}\n\n".encode("ascii")


def is_preferred(accept: str, other: str) -> bool:
    """True when an `Accept` header asks for SSE by name, and at least as strongly as for `other` by name."""
    qualities = _qualities(accept)
    sse = qualities.get(CONTENT_TYPE, 0.0)
    return sse > 0 and sse >= qualities.get(other, 0.0)


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
