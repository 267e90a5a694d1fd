"""Checking a value against a schema with a JSON Schema library, exactly: numbers are decimals, never rounded.

Formats are annotations to it, as JSON Schema has them. Patterns may take long: this runs in the judge's process only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import lru_cache
from typing import Any

import regex
from jsonschema import exceptions, validators

from minivault.structured.refusal import SchemaRefused

MAX_INT_DIGITS = 4000
"""The interpreter reads no longer integers; decimals have no limit."""
MAX_EXPONENT = 10**17
"""Decimals have none beyond 10^18; a larger one is read as this, which no bound of a schema tells apart."""


def read(text: str) -> Any:
    """JSON text, its numbers exact. Raises ValueError for what is no JSON."""
    return json.loads(text, parse_float=_decimal, parse_int=_integer, parse_constant=_refuse)


class Checks:
    """Checks against parts of one schema; references are the whole's."""

    def __init__(self, root: Any) -> None:
        """Raises SchemaRefused for what is no valid schema."""
        base = validators.validator_for(root, default=validators.Draft202012Validator)
        _ensure_valid(base, root)
        self._validator = _exact(base)(root)

    def of(self, schema: Any) -> Any:
        """A validator of one part."""
        return self._validator.evolve(schema=schema)

    def fault(self, text: str) -> str | None:
        """Why an answer does not satisfy the schema; None when it does."""
        try:
            error = exceptions.best_match(self._validator.iter_errors(read(text)))
        except ValueError as broken:
            return str(broken)
        return None if error is None else f"{'.'.join(map(str, error.path))}: {error.validator}"


def _ensure_valid(base: Any, root: Any) -> None:
    error = exceptions.best_match(base(base.META_SCHEMA).iter_errors(root))
    if error is not None:
        raise SchemaRefused(f"not a valid schema: {error.message[:160]}", list(error.absolute_path))


@lru_cache(maxsize=8)
def _exact(base: Any) -> Any:
    """The validator of a draft, with exact numbers and the patterns that answers are written by."""
    types = base.TYPE_CHECKER.redefine("integer", lambda _, value: _is_integer(value))
    rules = {"multipleOf": _multiple_of, "pattern": _pattern, "patternProperties": _pattern_properties}
    return validators.extend(base, rules, type_checker=types)


def _multiple_of(_validator: Any, divisor: Any, value: Any, _schema: Any) -> Iterator[Any]:
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if is_number and (Fraction(value) / Fraction(divisor)).denominator != 1:
        yield exceptions.ValidationError("not a multiple")


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(value, str) and not compiled_pattern(pattern).search(value):
        yield exceptions.ValidationError("does not match")


def _pattern_properties(validator: Any, patterns: dict[str, Any], value: Any, _schema: Any) -> Iterator[Any]:
    for pattern, part in patterns.items() if isinstance(value, dict) else ():
        for name, item in value.items():
            if compiled_pattern(pattern).search(name):
                yield from validator.descend(item, part, path=name, schema_path=pattern)


def compiled_pattern(pattern: str) -> Any:
    """A pattern in ECMAScript's sense, as JSON Schema has it: digits and letters are ASCII's."""
    try:
        return regex.compile(pattern, regex.ASCII)
    except regex.error as error:
        raise SchemaRefused(f"the pattern {pattern[:80]!r} cannot be read: {error}") from None


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, Decimal) and value == value.to_integral_value())


def _integer(text: str) -> int | Decimal:
    return int(text) if len(text) < MAX_INT_DIGITS else Decimal(text)


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        mantissa, _, exponent = text.lower().partition("e")
        sign = "-" if exponent.startswith("-") else ""
        return Decimal(f"{mantissa}e{sign}{MAX_EXPONENT}")


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
