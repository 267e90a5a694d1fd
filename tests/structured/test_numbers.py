"""Tightened bounds let through nothing that the given ones do not, and are what a double can hold."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.structured.checking import Checks
from minivault.structured.numbers import tightened
from minivault.structured.refusal import SchemaRefused

NUMBERS = st.integers(-(2**65), 2**65) | st.sampled_from([2**53, 2**63 - 1, -(2**63), 2**53 + 1])
BOUNDS = st.dictionaries(
    st.sampled_from(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]),
    NUMBERS | NUMBERS.map(Decimal),
    min_size=1,
)


def fits(value: int, bounds: dict[str, Any]) -> bool:
    return (
        bounds.get("minimum", value) <= value <= bounds.get("maximum", value)
        and not value <= bounds.get("exclusiveMinimum", value - 1)
        and not value >= bounds.get("exclusiveMaximum", value + 1)
    )


@given(BOUNDS, st.integers(-3, 3))
def test_a_tightened_bound_lets_nothing_more_through(bounds: dict[str, Any], offset: int) -> None:
    try:
        held = tightened(bounds)
    except SchemaRefused:
        assert any(abs(bound) > 2**63 - 2048 for bound in bounds.values())
        return
    assert all(int(float(bound)) == bound for bound in held.values())
    for bound in held.values():
        value = int(bound) + offset
        assert not fits(value, held) or fits(value, bounds)


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_a_bound_that_a_double_holds_stays_as_it_is(bound: int) -> None:
    assert tightened({"minimum": bound}) == {"minimum": bound}


@pytest.mark.parametrize(
    ("text", "schema", "is_kept"),
    [
        ("98E681964716831565257690341618", {}, True),
        ("98E681964716831565257690341618", {"type": "integer"}, True),
        ("1e-98888888888888888888888", {"type": "integer"}, False),
        ("1E9999999999999999999", {"maximum": 9}, False),
        ("-1E9999999999999999999", {"maximum": 9}, True),
        ("1E-9999999999999999999", {"exclusiveMinimum": 0}, True),
    ],
)
def test_no_exponent_is_too_large_to_be_checked(text: str, schema: dict[str, Any], is_kept: bool) -> None:
    assert (Checks(schema).fault(text) is None) == is_kept
