"""Every keyword of JSON Schema is held, refused before the start, or says nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from jsonschema_specifications import REGISTRY

from minivault.errors import BadRequest
from minivault.structured.keywords import FORMATS, KEYWORDS
from tests.structured.walking import COMPILER, walk

WIRE = Path(__file__).resolve().parents[2] / "docs" / "wire.md"
OLD = {"id", "$recursiveRef", "$recursiveAnchor", "dependencies", "definitions", "additionalItems"}

USES: dict[str, list[Any]] = {
    "type": [{"type": ["integer", "null"]}],
    "minLength": [{"type": "string", "minLength": 2}],
    "maxLength": [{"type": "string", "maxLength": 2}],
    "minItems": [{"type": "array", "minItems": 2, "items": {"type": "null"}}],
    "maxItems": [{"type": "array", "maxItems": 1}],
    "required": [{"type": "object", "required": ["b", "a"]}],
    "maxProperties": [{"type": "object", "maxProperties": 2}],
    "minProperties": [
        {"type": "object", "minProperties": 3, "additionalProperties": {"type": "boolean"}},
        {"type": "object", "properties": {"a": {}}, "required": ["a"], "minProperties": 2},
    ],
    "allOf": [{"allOf": [{"type": "integer"}, {"minimum": 3}]}],
    "anyOf": [{"anyOf": [{"type": "integer"}, {"const": "a"}]}],
    "oneOf": [
        {"oneOf": [{"type": "integer", "maximum": 5}, {"type": "integer", "exclusiveMinimum": 5}]},
        {"oneOf": [{"enum": ["a", 1]}, {"enum": ["b", 2]}, {"type": "boolean"}]},
        {"oneOf": [{"type": "string"}, {"type": "null"}], "anyOf": [{"maxLength": 3}, {"type": "null"}]},
        {
            "oneOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
            "$defs": {
                name: {"type": "object", "properties": {"k": {"const": name}}, "required": ["k"]} for name in "ab"
            },
        },
    ],
    "prefixItems": [{"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": False}],
    "items": [{"type": "array", "items": {"type": "boolean"}}],
    "additionalItems": [
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "array",
            "items": [{"type": "null"}],
            "additionalItems": {"type": "integer"},
        }
    ],
    "additionalProperties": [{"type": "object", "additionalProperties": {"type": "integer"}}],
    "properties": [{"type": "object", "properties": {"not": {"type": "null"}, "$ref": {"type": "integer"}}}],
    "patternProperties": [{"type": "object", "patternProperties": {"^a$": {"type": "null"}, "^b": {"type": "null"}}}],
    "propertyNames": [
        {"type": "object", "propertyNames": {"pattern": "^[ab]{1,3}$"}, "additionalProperties": {"type": "null"}},
        {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "additionalProperties": {"type": "integer"}},
        {"type": "object", "propertyNames": {"maxLength": 2}, "properties": {"abc": {}, "a": {"type": "null"}}},
        {"type": "object", "propertyNames": {"pattern": "^a"}, "required": ["ab"]},
    ],
    "const": [{"const": {"a": [1, 2.5, 'x\n"', None]}}],
    "enum": [{"enum": [1, "1", None, True, [], {}, 0.1, 1e-7]}],
    "pattern": [
        {"type": "string", "pattern": r"^\s[\s,]\d[^\s]$"},
        {"type": "string", "pattern": r"^\S\w$"},
        {"type": "string", "pattern": "a|b"},
    ],
    "format": [{"type": "string", "format": name} for name in FORMATS],
    "minimum": [{"type": "integer", "minimum": -(2**63)}, {"type": "number", "minimum": 0.1, "maximum": 0.3}],
    "maximum": [{"type": "integer", "maximum": 2**63 - 1}, {"type": "integer", "maximum": 2**64}],
    "exclusiveMinimum": [{"type": "integer", "exclusiveMinimum": 2**53, "maximum": 2**53 + 6}],
    "exclusiveMaximum": [
        {"type": "number", "exclusiveMaximum": 0.5, "minimum": 0},
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "integer",
            "minimum": 3,
            "exclusiveMinimum": True,
            "maximum": 5,
        },
    ],
    "multipleOf": [{"type": "integer", "multipleOf": 7}, {"type": "number", "multipleOf": 0.25}],
    "uniqueItems": [{"type": "array", "uniqueItems": False}, {"type": "array", "uniqueItems": True, "maxItems": 1}],
    "unevaluatedItems": [{"type": "array", "unevaluatedItems": True}],
    "unevaluatedProperties": [{"type": "object", "unevaluatedProperties": True}],
    "$id": [{"$id": "https://example.org/x", "type": "integer"}],
    "$ref": [
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "integer"}}, "maximum": 3},
        {"$ref": "#here", "$defs": {"x": {"$anchor": "here", "type": "null"}}},
        {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    ],
}
REFUSED: dict[str, list[Any]] = {
    "not": [{"not": {"type": "string"}}],
    "if": [{"if": {"type": "string"}, "then": {"minLength": 3}}],
    "then": [{"then": {}}],
    "else": [{"else": {}}],
    "contains": [{"contains": {"type": "null"}}],
    "minContains": [{"minContains": 2}],
    "maxContains": [{"maxContains": 2}],
    "$dynamicRef": [{"$dynamicRef": "#x", "$defs": {"x": {"$dynamicAnchor": "x"}}}],
    "$recursiveRef": [{"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": "#"}],
    "dependencies": [{"dependencies": {"a": ["b"]}}],
    "dependentRequired": [{"dependentRequired": {"a": ["b"]}}],
    "dependentSchemas": [{"dependentSchemas": {"a": {"required": ["b"]}}}],
    "minProperties": [
        {"type": "object", "properties": {"a": {}}, "minProperties": 2},
        {"type": "object", "patternProperties": {"^a$": {}}, "additionalProperties": False, "minProperties": 1},
    ],
    "oneOf": [
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        {"oneOf": [{"const": 1}, {"const": 1.0}]},
        {"oneOf": [{"type": "string"}, {"const": "b"}]},
        {"oneOf": [{"type": "array", "items": {"type": "null"}}, {"type": "array", "items": {"type": "string"}}]},
    ],
    "propertyNames": [
        {"propertyNames": {"not": {}}},
        {"propertyNames": {"pattern": "a", "maxLength": 3}},
        {"propertyNames": {"pattern": "a"}, "patternProperties": {"b": {}}},
    ],
    "const": [{"const": 2**53 + 1}, {"const": [1e22]}],
    "enum": [{"enum": [{"a": 12345678901234567890123}]}],
    "pattern": [{"pattern": "("}, {"pattern": "^(?=a)b"}, {"pattern": r"(a)\1"}],
    "patternProperties": [{"type": "object", "patternProperties": {"a": {"type": "null"}, "b": {"type": "integer"}}}],
    "minimum": [{"type": "integer", "minimum": 2**63}, {"type": "integer", "minimum": 5, "maximum": 3}],
    "maximum": [{"type": "integer", "maximum": -(2**64)}],
    "exclusiveMinimum": [{"type": "integer", "exclusiveMinimum": 2**63 - 1}],
    "exclusiveMaximum": [{"type": "integer", "exclusiveMaximum": -(2**63)}],
    "multipleOf": [{"type": "number", "multipleOf": 0}, {"type": "number", "multipleOf": 1e-20}],
    "uniqueItems": [{"type": "array", "uniqueItems": True}],
    "unevaluatedItems": [{"unevaluatedItems": False}],
    "unevaluatedProperties": [{"unevaluatedProperties": {"type": "integer"}}],
    "$id": [{"properties": {"a": {"$id": "x"}}}],
    "$ref": [
        {"$ref": "http://example.org/schema"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    ],
}


def specified() -> set[str]:
    """Every keyword of the specification's vocabularies, and those of older drafts that are still met."""
    dialect = "https://json-schema.org/draft/2020-12/"
    names = set(OLD)
    for name in ("core", "applicator", "unevaluated", "validation", "meta-data", "format-annotation", "content"):
        names |= REGISTRY.contents(f"{dialect}meta/{name}")["properties"].keys()
    return names - {"id"}


def test_the_table_knows_every_keyword_of_the_specification() -> None:
    assert specified() == KEYWORDS.keys() - OLD | OLD - {"id"}


@pytest.mark.parametrize("keyword", sorted(KEYWORDS))
def test_each_keyword_is_held_or_refused_or_says_nothing(keyword: str) -> None:
    fate = KEYWORDS[keyword].fate
    assert bool(USES.get(keyword)) == (fate in ("held", "partly"))
    assert bool(REFUSED.get(keyword)) == (fate in ("refused", "partly")) or keyword == "format"
    for schema in REFUSED.get(keyword, ()):
        with pytest.raises(BadRequest, match="cannot be used") as refused:
            COMPILER.compile(json.dumps(schema), "response_format")
        assert refused.value.field == "response_format"
        assert "\n" not in refused.value.message
    for schema in USES.get(keyword, ()):
        assert_held(schema)


def assert_held(schema: Any) -> None:
    """Answers come to an end, hold no key twice where keys are free, and validate."""
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema)
    answers = [answer for seed in range(5) if (answer := walk(schema, seed)) is not None]
    assert answers, schema
    for answer in answers:
        if not re.search(r"pattern|Names", json.dumps(schema)):
            assert_keys_differ(answer)
            validator.validate(json.loads(answer))


def assert_keys_differ(text: str) -> None:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), text
        return dict(pairs)

    json.loads(text, object_pairs_hook=unique)


IGNORED = [
    {"x-guidance": {"whitespace_flexible": True}},
    {"x-guidance": {"lark": "start: /foo/"}},
    {"x-anything": 3},
    {"nullable": True},
    {"format": "binary"},
    {"format": "password"},
    {"contentEncoding": "base64"},
    {"title": "t", "description": "d", "default": "x", "examples": [3], "deprecated": True, "readOnly": True},
    {"$comment": "c", "$anchor": "a", "$dynamicAnchor": "b", "$defs": {"unused": {"not": {}}}},
]


@pytest.mark.parametrize("extra", IGNORED, ids=str)
def test_what_says_nothing_of_a_value_changes_nothing(extra: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"type": "string", "maxLength": 3}
    assert [walk(plain | extra, seed) for seed in range(4)] == [walk(plain, seed) for seed in range(4)]


def test_the_document_says_what_becomes_of_each_keyword() -> None:
    text = WIRE.read_text()
    for fate in ("held", "partly", "refused", "ignored"):
        (row,) = re.findall(rf"^\| {fate} \|.*\|$", text, re.MULTILINE)
        assert set(re.findall(r"`([$a-zA-Z]+)`", re.sub(r"\([^)]*\)", "", row))) == {
            name for name, keyword in KEYWORDS.items() if keyword.fate == fate
        }
    for name, keyword in KEYWORDS.items():
        assert not keyword.note or f"`{name}` ({keyword.note})" in text
    assert ", ".join(f"`{name}`" for name in sorted(FORMATS)) in text
