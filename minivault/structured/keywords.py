"""What becomes of each keyword of JSON Schema: one table, which `rewriting`, docs/wire.md and a test go by.

`held`: the grammar lets nothing else through. `partly`: held in the cases that `note` names, refused otherwise.
`refused`: a schema that uses it is refused. `ignored`: it says nothing about a value. Whatever is not in the table
is ignored too, `x-…` included, as JSON Schema says. The finished answer is checked against all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Fate = Literal["held", "partly", "refused", "ignored"]
Shape = Literal["value", "schema", "list", "map"]
"""Where subschemas stand in the keyword's value: nowhere, it is one, in a list, or under names."""


@dataclass(frozen=True, slots=True)
class Keyword:
    fate: Fate
    note: str = ""
    shape: Shape = "value"


def _all(fate: Fate, names: str, shape: Shape = "value") -> dict[str, Keyword]:
    return dict.fromkeys(names.split(), Keyword(fate, shape=shape))


KEYWORDS: dict[str, Keyword] = {
    **_all("held", "type minLength maxLength minItems maxItems required maxProperties"),
    **_all("held", "allOf anyOf prefixItems", "list"),
    **_all("held", "items additionalItems additionalProperties", "schema"),
    **_all("held", "properties", "map"),
    **_all("ignored", "$schema $comment $anchor $vocabulary $dynamicAnchor $recursiveAnchor $defs definitions"),
    **_all("ignored", "title description default deprecated examples readOnly writeOnly"),
    **_all("ignored", "contentEncoding contentMediaType contentSchema"),
    **_all("refused", "not if then else contains minContains maxContains $dynamicRef $recursiveRef"),
    **_all("refused", "dependencies dependentRequired dependentSchemas"),
    "$id": Keyword("partly", "at the top"),
    "$ref": Keyword("partly", "to a place in the same schema"),
    "const": Keyword("partly", "numbers up to 2^53"),
    "enum": Keyword("partly", "numbers up to 2^53"),
    "exclusiveMaximum": Keyword("partly", "see `maximum`"),
    "exclusiveMinimum": Keyword("partly", "see `minimum`"),
    "format": Keyword("partly", "the formats below; any other is ignored"),
    "maximum": Keyword("partly", "down to -2^63; beyond ±2^53 tightened to the next number that a double can hold"),
    "minProperties": Keyword("partly", "where every key of `properties` is required and none is bound by a pattern"),
    "minimum": Keyword("partly", "up to 2^63; beyond ±2^53 tightened to the next number that a double can hold"),
    "multipleOf": Keyword("partly", "up to 9 digits"),
    "oneOf": Keyword("partly", "where no value can fit two branches: other types, other constants of a key", "list"),
    "pattern": Keyword("partly", "without lookaround and backreferences"),
    "patternProperties": Keyword("partly", "see `pattern`; patterns that share no key", "map"),
    "propertyNames": Keyword(
        "partly", "one of enum, const, pattern, minLength with maxLength; no patternProperties beside"
    ),
    "unevaluatedItems": Keyword("partly", "true", "schema"),
    "unevaluatedProperties": Keyword("partly", "true", "schema"),
    "uniqueItems": Keyword("partly", "false, or maxItems of at most 1"),
}

FORMATS = frozenset(("date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"))
"""The formats that answers are held to."""
