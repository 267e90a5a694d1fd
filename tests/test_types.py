"""The values that travel between layers."""

from __future__ import annotations

from minivault.moment import rfc3339


def test_times_have_nine_digits() -> None:
    assert rfc3339(1_790_000_000_123_456_789) == "2026-09-21T14:13:20.123456789Z"
    assert rfc3339(1_790_000_000_000_000_001).endswith(".000000001Z")
