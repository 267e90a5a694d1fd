"""Moments: nanoseconds since 1970, and how people write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def rfc3339(time_ns: int) -> str:
    """A time since 1970 as RFC 3339 writes it: UTC, with nine digits of a second and `Z`."""
    seconds, fraction = divmod(time_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, timezone.utc).isoformat()[:19]}.{fraction:09d}Z"


def read_moment(text: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 time or date, in UTC where it names no offset. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000
