"""Bounds and constants as the grammar can hold them: it computes with doubles and 64-bit integers.

A bound that a double cannot hold is tightened to the next one that it can: a few values that would be allowed are not
reached, and no value that is not allowed is.
"""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from minivault.structured.refusal import SchemaRefused

EXACT = 2**53
"""Integers up to here are doubles, each of them."""
FARTHEST = 2**63 - 1024
"""The largest double that is a 64-bit integer."""
Number = int | Decimal


def tightened(schema: dict[str, Any]) -> dict[str, Any]:
    """The four bounds of a schema. Raises SchemaRefused for one that leaves nothing within 64 bits."""
    bounds: dict[str, Any] = {}
    for name, other, sign in (("minimum", "exclusiveMinimum", 1), ("maximum", "exclusiveMaximum", -1)):
        inclusive, exclusive = schema.get(name), schema.get(other)
        if exclusive is True:  # draft 4 marks the other bound
            inclusive, exclusive = None, inclusive
        for key, value in ((name, inclusive), (other, exclusive)):
            if value is None or isinstance(value, bool):
                continue
            if abs(value) < EXACT:
                bounds[key] = value
            else:
                bounds[name] = _inward(value, sign, is_exclusive=key == other, other=bounds.get(name))
    return bounds


def _inward(value: Number, sign: int, *, is_exclusive: bool, other: Number | None) -> Number:
    """`value` as the nearest integer that can be held and that `sign` (1: from below) allows."""
    reach = value * sign
    if reach > FARTHEST or (is_exclusive and reach == FARTHEST):
        raise SchemaRefused("a bound beyond 64-bit integers cannot be held", ("minimum" if sign > 0 else "maximum",))
    held = max(-FARTHEST, math.ceil(reach))
    if is_exclusive and held == reach:
        held += 1
    rounded = int(float(held))
    if rounded < held:
        rounded = int(math.nextafter(float(held), math.inf))
    return sign * (rounded if other is None else max(rounded, int(other * sign)))


def ensure_exact(value: Any) -> None:
    """Refuse a constant that holds a number which could come out as another."""
    if isinstance(value, list):
        for item in value:
            ensure_exact(item)
    elif isinstance(value, dict):
        ensure_exact(list(value.values()))
    elif isinstance(value, int | Decimal) and not -EXACT <= value <= EXACT:
        raise SchemaRefused(f"the number {str(value)[:24]} cannot be held exactly; it ends at 2^53")
