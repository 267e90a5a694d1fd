"""A forced call keeps to its tool's parameters, wherever these refer to parts of themselves."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from minivault.errors import GenerationFailed
from minivault.structured.grammar import GrammarCompiler
from minivault.wire.openai.tool_choice import offer
from tests.scripted import ByteTokenizer

POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
OPEN = {"type": "object", "required": ["p"], "additionalProperties": False}
NODE = OPEN | {"properties": {"p": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
REFERRING: dict[str, dict[str, Any]] = {
    "$defs": OPEN | {"properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": POINT}},
    "definitions": OPEN | {"properties": {"p": {"$ref": "#/definitions/P"}}, "definitions": {"P": POINT}},
    "a property": OPEN | {"properties": {"q": POINT, "p": {"$ref": "#/properties/q"}}},
    "through another": OPEN
    | {"properties": {"p": {"$ref": "#/$defs/Q"}}, "$defs": {"P": POINT, "Q": {"$ref": "#/$defs/P"}}},
    "in a list": OPEN | {"properties": {"p": {"anyOf": [{"$ref": "#/$defs/P"}]}}, "$defs": {"P": POINT}},
    "the whole": {"$ref": "#/$defs/O", "$defs": {"O": OPEN | {"properties": {"p": POINT}}}},
}
NOTHING: list[dict[str, Any] | None] = [
    None,
    {},
    {"type": "object"},
    {"type": "object", "properties": {}},
    {"type": "object", "properties": {}, "required": [], "additionalProperties": False, "title": "F"},
]


def tool(name: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def is_possible(grammar: str | None, text: str) -> bool:
    """Whether an answer that must keep to the grammar can be this text."""
    constraint = GrammarCompiler(ByteTokenizer()).compile(grammar or "")
    try:
        for byte in text.encode():
            constraint.accept(byte)
    except GenerationFailed:
        return False
    return constraint.is_complete


def call(name: str, arguments: Any) -> str:
    return json.dumps({"name": name, "arguments": arguments})


@pytest.mark.parametrize("name", REFERRING)
@pytest.mark.parametrize("others", [[], [tool("g", REFERRING["$defs"] | {"$defs": {"P": {"type": "string"}}})]])
def test_references_lead_where_they_led(name: str, others: list[dict[str, Any]]) -> None:
    grammar = offer([*others, tool("f", REFERRING[name])], "required", None).grammar
    jsonschema.validate({"p": {"x": 1}}, REFERRING[name])
    assert is_possible(grammar, call("f", {"p": {"x": 1}}))
    assert not is_possible(grammar, call("f", {"p": {"x": "1"}}))
    assert not is_possible(grammar, call("f", {"p": "text"}))
    assert is_possible(grammar, call("g", {"p": "text"})) == bool(others)


def test_a_schema_may_refer_to_itself() -> None:
    grammar = offer([tool("f", NODE)], "required", None).grammar
    assert is_possible(grammar, call("f", {"p": {"p": {"p": None}}}))
    assert not is_possible(grammar, call("f", {"p": 1}))


def test_what_only_looks_like_a_reference_stays() -> None:
    odd = {"$ref": {"enum": ["#/$defs/P"]}, "p": {"const": {"$ref": "#/x"}}, "q": {"$ref": "#/properties/p"}}
    grammar = offer([tool("f", {"properties": odd, "additionalProperties": False})], "required", None).grammar
    assert is_possible(grammar, call("f", {"$ref": "#/$defs/P", "p": {"$ref": "#/x"}, "q": {"$ref": "#/x"}}))


@pytest.mark.parametrize("parameters", NOTHING)
def test_a_tool_without_parameters_takes_an_empty_object(parameters: dict[str, Any] | None) -> None:
    grammar = offer([tool("f", parameters)], "required", None).grammar
    assert is_possible(grammar, call("f", {}))
    assert not is_possible(grammar, call("f", {"a": 1}))
    assert not is_possible(grammar, call("f", None))


@pytest.mark.parametrize("parameters", [{"additionalProperties": {}}, {"additionalProperties": True}])
def test_a_tool_that_asks_for_any_parameters_takes_any(parameters: dict[str, Any]) -> None:
    assert is_possible(offer([tool("f", parameters)], "required", None).grammar, call("f", {"a": 1}))
