"""Errors as Anthropic's clients read them, in a reply and in a stream that broke."""

from __future__ import annotations

from typing import Any

from minivault.errors import Overloaded
from minivault.wire.dialect import shown

OVERLOADED = 529
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
STATUSES = ((Overloaded.code, OVERLOADED),)
"""Our code and their status, where it is another."""


def encode_error(error: Exception, request_id: str) -> dict[str, Any]:
    """`details.error_code` is ours: it names the cause."""
    ours = shown(error)
    if ours.code == Overloaded.code:
        kind = "overloaded_error"
    else:
        kind = TYPES.get(ours.status, "api_error" if ours.status >= 500 else "invalid_request_error")
    detail = {"type": kind, "message": ours.message, "details": {"error_code": ours.code}}
    return {"type": "error", "error": detail, "request_id": request_id}
