"""References inside a JSON schema, for a schema that becomes a part of another.

`$ref` counts from the root of the document: `#/$defs/Point` of a schema that moved to `#/$defs/0` is
`#/$defs/0/$defs/Point` from there on.
"""

from __future__ import annotations

from typing import Any

REF = "$ref"
NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Members whose own members are named by the author and hold schemas."""
DATA = ("const", "enum", "default", "examples", "example")
"""Members that hold values, not schemas."""


def refers(schema: Any) -> bool:
    """True where a schema refers to a part of its own document."""
    return bool(moved(schema, "#/") != schema)


def moved(schema: Any, place: str) -> Any:
    """The schema with its references as they are once it stands at `place`, a reference itself."""
    if isinstance(schema, list):
        return [moved(item, place) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _moved_member(name, value, place) for name, value in schema.items()}


def _moved_member(name: str, value: Any, place: str) -> Any:
    if name == REF and isinstance(value, str):
        return place + value[1:] if value == "#" or value.startswith("#/") else value
    if name in NAMED and isinstance(value, dict):
        return {key: moved(item, place) for key, item in value.items()}
    return value if name in DATA else moved(value, place)
