"""Endless schemas: those that refer to themselves without a value in between, or that no finite value satisfies.

The first have no meaning, and those that only nearly are take a checker as long; the second would keep a model writing
until its limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from minivault.structured.references import Schema
from minivault.structured.refusal import SchemaRefused

MAX_VISITS = 2000
Definitions = Mapping[str, Schema]


def ensure_ends(schema: Schema, definitions: Definitions) -> None:
    """Raises SchemaRefused for a rewritten schema that is endless, or one of whose definitions means nothing."""
    _ensure_few_in_place(schema, definitions)
    finite = _finite(definitions)
    if not _ends(schema, finite):
        raise SchemaRefused("no finite value satisfies it: it requires itself within itself without end")


def _ensure_few_in_place(schema: Schema, definitions: Definitions) -> None:
    """Refuse what a checker would go round in, or visit again and again for one and the same value."""
    targets = {name: list(_in_place(part)) for name, part in definitions.items()}
    visits = dict[str, int]()
    try:
        for name in TopologicalSorter(targets).static_order():
            visits[name] = 1 + sum(visits[target] for target in targets[name])
    except CycleError:
        raise SchemaRefused("it refers to itself without a value in between") from None
    if max([sum(visits[name] for name in _in_place(schema)), *visits.values()]) > MAX_VISITS:
        raise SchemaRefused(f"its references lead to more than {MAX_VISITS} schemas for one value; use fewer")


def _in_place(schema: Schema) -> Iterator[str]:
    """The definitions that must hold for the very value that `schema` is about."""
    if isinstance(schema, bool):
        return
    if "$ref" in schema:
        yield _name(schema)
    for keyword in ("allOf", "anyOf"):
        for part in schema.get(keyword, ()):
            yield from _in_place(part)


def _finite(definitions: Definitions) -> set[str]:
    """The definitions that some finite value satisfies."""
    found = set[str]()
    while more := {name for name in definitions.keys() - found if _ends(definitions[name], found)}:
        found |= more
    return found


def _ends(schema: Schema, finite: set[str]) -> bool:
    """Whether a finite value may satisfy it, given the definitions that end."""
    if isinstance(schema, bool):
        return schema
    if "$ref" in schema and _name(schema) not in finite:
        return False
    if not all(_ends(part, finite) for part in schema.get("allOf", ())):
        return False
    if "anyOf" in schema and not any(_ends(part, finite) for part in schema["anyOf"]):
        return False
    return all(_ends(part, finite) for part in _needed(schema))


def _needed(schema: Mapping[str, Any]) -> list[Schema]:
    """What must be within a value, where it can only be an object, or only an array."""
    if schema.get("type") == "object":
        return [_of_key(schema, key) for key in schema.get("required", ())]
    return _needed_items(schema) if schema.get("type") == "array" else []


def _of_key(schema: Mapping[str, Any], key: str) -> Schema:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    return properties[key] if key in properties else schema.get("additionalProperties", True)


def _needed_items(schema: Mapping[str, Any]) -> list[Schema]:
    minimum, prefix = schema.get("minItems", 0), schema.get("prefixItems", [])
    rest = [schema.get("items", True)] if minimum > len(prefix) else []
    return [*prefix[: int(minimum)], *rest]


def _name(schema: Mapping[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]
