"""How a limit is told to clients: the fields of a reply, and the error of a refusal.

Sent are `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), and `X-RateLimit-*`, which older
clients read. A refusal adds `Retry-After` and has the same numbers in its body.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from minivault.access.rates import Window
from minivault.errors import QuotaExceeded

_QUOTA_UNITS = {"tokens": ';qu="tokens"', "generations": ';qu="concurrent-requests"'}


def rate_headers(windows: Sequence[Window], now: float) -> dict[str, str]:
    """The header fields for one reply; the first window is the one that `X-RateLimit-*` speaks of."""
    if not windows:
        return {}
    first = windows[0]
    return {
        "RateLimit-Policy": ", ".join(map(_policy, windows)),
        "RateLimit": ", ".join([_standing(window, now) for window in windows]),
        "X-RateLimit-Limit": str(first.limit),
        "X-RateLimit-Remaining": str(first.remaining),
        "X-RateLimit-Reset": str(math.ceil(first.reset_at)),
    }


def refusal(window: Window, now: float) -> QuotaExceeded:
    """The error for a request that `window` does not admit."""
    wait_s = _seconds_left(window, now)
    return QuotaExceeded(
        f"the limit of {_describe(window)} is reached; try again in {wait_s} s",
        retry_after_s=wait_s,
        headers=rate_headers([window], now),
        details={
            "policy": window.unit,
            "limit": window.limit,
            "remaining": window.remaining,
            "window_s": window.window_s,
            "retry_after_s": wait_s,
        },
    )


def _describe(window: Window) -> str:
    if window.unit == "generations":
        return f"{window.limit} generation{'s' * (window.limit != 1)} at once"
    return f"{window.limit} {window.unit.replace('-', ' ')} in {window.window_s} s"


def _policy(window: Window) -> str:
    duration = f";w={window.window_s}" if window.window_s else ""
    return f'"{window.unit}";q={window.limit}{_QUOTA_UNITS.get(window.unit, "")}{duration}'


def _standing(window: Window, now: float) -> str:
    return f'"{window.unit}";r={window.remaining};t={_seconds_left(window, now)}'


def _seconds_left(window: Window, now: float) -> int:
    return max(1, math.ceil(window.reset_at - now))
