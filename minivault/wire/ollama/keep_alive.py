"""`keep_alive`: a Go duration string, or a number of seconds; negative means for ever, zero means unload now."""

from __future__ import annotations

import re
from typing import Any

from minivault.errors import BadRequest

UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


def keep_alive_s(value: Any) -> float:
    """Seconds to keep the model; negative = for ever. Raises BadRequest for anything that is no duration."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        seconds = _go_duration_s(value)
        if seconds is not None:
            return seconds
    raise BadRequest(
        f'keep_alive must be a duration like "5m" or a number of seconds, not {value!r}', field="keep_alive"
    )


def _go_duration_s(text: str) -> float | None:
    sign, digits = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if digits == "0":
        return 0.0
    parts = PART.findall(digits)
    if not parts or "".join(number + unit for number, unit in parts) != digits:
        return None
    return sign * sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)
