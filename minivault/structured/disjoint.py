"""Disjoint: whether no value can fit two schemas at once. "No" means that it could not be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.structured.checking import Checks
from minivault.structured.references import References, Schema

MAX_DEPTH = 8
TYPES = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))


class Disjoint:
    """Compares schemas of one document."""

    def __init__(self, references: References, checks: Checks) -> None:
        self._references = references
        self._checks = checks

    def __call__(self, one: Schema, other: Schema, depth: int = 0) -> bool:
        one, other = self._references.resolved(one), self._references.resolved(other)
        if one is False or other is False:
            return True
        if isinstance(one, bool) or isinstance(other, bool) or depth > MAX_DEPTH:
            return False
        if not _types(one) & _types(other):
            return True
        for values, schema in ((_values(one), other), (_values(other), one)):
            if values is not None:
                return not any(self._checks.of(schema).is_valid(value) for value in values)
        return self._differ_in_a_key(one, other, depth) or _lie_apart(one, other) or _lie_apart(other, one)

    def _differ_in_a_key(self, one: dict[str, Any], other: dict[str, Any], depth: int) -> bool:
        """Both are objects, and a key that one of them requires has no value that fits both."""
        if _types(one) != {"object"} or _types(other) != {"object"}:
            return False
        required = [*one.get("required", ()), *other.get("required", ())]
        return any(self(_of_key(one, key), _of_key(other, key), depth + 1) for key in required)


def _types(schema: Mapping[str, Any]) -> set[str]:
    """The types a value may have; every number counts as `number`."""
    named = schema.get("type", list(TYPES))
    names = {named} if isinstance(named, str) else set(named)
    return {"number" if name == "integer" else name for name in names}


def _values(schema: Mapping[str, Any]) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values


def _of_key(schema: Mapping[str, Any], key: str) -> Schema:
    """What a key's value must fit, as far as it is plain; true where it is not known."""
    properties = schema.get("properties", {})
    if key in properties:
        return properties[key]
    return True if schema.get("patternProperties") else schema.get("additionalProperties", True)


def _lie_apart(low: Mapping[str, Any], high: Mapping[str, Any]) -> bool:
    """Both are numbers, and those of `low` end before those of `high` begin."""
    if _types(low) != {"number"} or _types(high) != {"number"}:
        return False
    ends = [low[key] for key in ("maximum", "exclusiveMaximum") if _is_bound(low.get(key))]
    begins = [high[key] for key in ("minimum", "exclusiveMinimum") if _is_bound(high.get(key))]
    if not ends or not begins:
        return False
    end, begin = min(ends), max(begins)
    is_open = low.get("exclusiveMaximum") == end or high.get("exclusiveMinimum") == begin
    return bool(end < begin or (end == begin and is_open))


def _is_bound(value: Any) -> bool:
    return value is not None and not isinstance(value, bool)
