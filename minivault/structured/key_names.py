"""`propertyNames`, said by `properties`, `patternProperties` and `additionalProperties`, which the grammar holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.structured.checking import Checks
from minivault.structured.keywords import KEYWORDS
from minivault.structured.references import References, Schema
from minivault.structured.refusal import SchemaRefused

ANYTHING: tuple[Schema, ...] = (True, {})


def with_named_keys(schema: Mapping[str, Any], references: References, checks: Checks) -> dict[str, Any]:
    """The same schema without `propertyNames`. Raises SchemaRefused where nothing else can say it."""
    others = {key: value for key, value in schema.items() if key != "propertyNames"}
    names = references.resolved(schema["propertyNames"])
    if names in ANYTHING:
        return others
    if schema.get("patternProperties"):
        raise SchemaRefused("this cannot be held beside patternProperties; say it in them")
    fits, rest = checks.of(names).is_valid, schema.get("additionalProperties", True)
    declared = schema.get("properties", {})
    undeclared = [name for name in schema.get("required", ()) if name not in declared]
    declared = {name: value if fits(name) else False for name, value in declared.items()}
    declared |= {name: rest if fits(name) else False for name in undeclared}
    return others | {"additionalProperties": False} | _others(names, declared, rest, fits)


def _others(names: Schema, declared: dict[str, Schema], rest: Schema, fits: Any) -> dict[str, Any]:
    """What the keys besides the declared ones may be."""
    if names is False or rest is False:
        return {"properties": declared}
    says = {key for key in names.keys() & KEYWORDS.keys() if KEYWORDS[key].fate != "ignored"} - {"type"}
    if says in ({"enum"}, {"const"}):
        known = [name for name in names.get("enum", [names.get("const")]) if isinstance(name, str) and fits(name)]
        return {"properties": declared | {name: rest for name in known if name not in declared}}
    if says != {"pattern"} and not (says and says <= {"minLength", "maxLength"}):
        raise SchemaRefused("only enum, const, pattern, or minLength and maxLength can be held here, one at a time")
    if declared and rest not in ANYTHING:
        raise SchemaRefused("this cannot be held beside both properties and additionalProperties")
    pattern = names.get("pattern") or _of_length(names.get("minLength", 0), names.get("maxLength"))
    return {"properties": declared, "patternProperties": {pattern: rest}}


def _of_length(minimum: int, maximum: int | None) -> str:
    return rf"^(?s:.){{{minimum},{'' if maximum is None else maximum}}}$"
