"""`tool_choice`: which tools the model is told of, and the grammar that makes it call one of them.

A forced call is structured output: the answer must be the JSON of a call to one of the allowed tools, arguments and
all, which is then read back like a call the model made of its own accord.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minivault.errors import BadRequest, Unsupported
from minivault.types import Calls
from minivault.wire.openai.references import moved, refers

FIELD = "tool_choice"
FREE_CHOICES = (None, "auto", "none")
EMPTY: dict[str, Any] = {"properties": {}, "required": [], "patternProperties": {}, "additionalProperties": False}
ANY: dict[str, Any] = {"parameters": {"type": "object", "additionalProperties": True}}
NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
SAYING_NOTHING = ("type", "title", "description", "$schema", "$id", "$comment", "$defs", "definitions", "strict")
"""Members of a schema that name no parameter."""

Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools to tell the model of, and what its answer must parse as."""

    tools: tuple[Tool, ...]
    grammar: str | None
    calls: Calls | None = None
    """How `grammar` holds, where it is that of calls."""


def narrowed(tools: Sequence[Tool], choice: Any) -> tuple[Sequence[Tool], Any]:
    """The tools that a choice of type `allowed_tools` leaves and its mode; any other choice with all of them."""
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return tools, choice
    said = choice.get("allowed_tools", choice)  # nested in chat, flat in responses
    if not isinstance(said, dict) or said.get("mode") not in ("auto", "required"):
        raise BadRequest('tool_choice.mode must be "auto" or "required"', field=FIELD)
    if not isinstance(said.get("tools"), list):
        raise BadRequest("tool_choice.tools must list the tools that are allowed", field=FIELD)
    names = [_name(tool) for tool in said["tools"] if _is_named(tool)]
    return [tool for tool in tools if tool["function"]["name"] in names], said["mode"]


def offer(tools: Sequence[Tool], choice: Any, grammar: str | None) -> Offer:
    """What a request offers. `choice` is "none", "auto", "required", or names one function, nested or flat; `grammar`
    is the answer's own, of no effect on an answer that has to be a call.

    Raises BadRequest for a choice of no offered tool, Unsupported for one whose parameters cannot be enforced.
    """
    if choice == "none":
        return Offer((), grammar)
    if choice in FREE_CHOICES:
        if grammar is not None or not has_strict(tools):
            return Offer(tuple(tools), grammar)
        functions = [
            tool["function"] if is_strict(tool) else {"name": tool["function"]["name"]} | ANY for tool in tools
        ]
        return Offer(tuple(tools), json.dumps(_calls_schema(functions)), "strict")
    allowed = [tool for tool in tools if choice == "required" or tool["function"]["name"] == _name(choice)]
    if not allowed:
        raise BadRequest("tool_choice names none of the tools", field=FIELD)
    return Offer(tuple(tools), json.dumps(_calls_schema([tool["function"] for tool in allowed])), "forced")


def may_call(choice: Any, grammar: str | None) -> bool:
    """Whether an answer may hold calls: none where it is to keep to a format of its own."""
    return choice != "none" and (grammar is None or choice not in FREE_CHOICES)


def is_strict(tool: Tool) -> bool:
    """Its arguments are to follow the schema whenever the model calls it."""
    return tool["function"].get("strict") is True


def has_strict(tools: Sequence[Tool]) -> bool:
    return any(map(is_strict, tools))


def _is_named(choice: Any) -> bool:
    """True where a choice is one function, or one flat custom tool, which models know as a function."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    return kind == "function" or (kind == "custom" and "name" in choice)


def _name(choice: Any) -> str:
    """The function that a choice names. Raises Unsupported for other kinds of choices."""
    named = (choice.get(choice["type"]) or choice) if _is_named(choice) else None
    name = named.get("name") if isinstance(named, dict) else None
    if not isinstance(name, str):
        raise Unsupported(
            'tool_choice must be "none", "auto", "required", allowed_tools or name a function', field=FIELD
        )
    return name


def _calls_schema(functions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A call of one of the functions. Parameters that refer to parts of themselves stand whole in `$defs`, where their
    references lead."""
    calls, definitions = [], {}
    for index, function in enumerate(functions):
        parameters = {"type": "object"} | (function.get("parameters") or {})
        if takes_nothing(parameters):
            parameters = NO_ARGUMENTS
        elif refers(parameters):
            definitions[str(index)] = moved(parameters, f"#/$defs/{index}")
            parameters = {"$ref": f"#/$defs/{index}"}
        calls.append(_call_schema(function["name"], parameters))
    return {"anyOf": calls} | ({"$defs": definitions} if definitions else {})


def _call_schema(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    properties = {"name": {"const": name}, "arguments": parameters}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def takes_nothing(parameters: dict[str, Any]) -> bool:
    """True where a schema names no parameter and does not ask for others: the arguments are `{}`."""
    saying = {name: value for name, value in parameters.items() if name not in SAYING_NOTHING}
    is_object = parameters.get("type", "object") == "object"
    return is_object and all(name in EMPTY and value == EMPTY[name] for name, value in saying.items())
