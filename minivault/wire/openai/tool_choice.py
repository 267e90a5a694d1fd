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

FIELD = "tool_choice"
FREE_CHOICES = (None, "auto", "none")
ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}

Tool = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """The tools to tell the model of, and what its answer must parse as."""

    tools: tuple[Tool, ...]
    grammar: str | None


def offer(tools: Sequence[Tool], choice: Any, grammar: str | None) -> Offer:
    """What a request offers. `choice` is "none", "auto", "required", or names one function, nested or flat; `grammar`
    is the answer's own.

    Raises BadRequest for a choice of no offered tool, Unsupported for one whose parameters cannot be enforced.
    """
    if choice in FREE_CHOICES:
        return Offer(() if choice == "none" else tuple(tools), grammar)
    if grammar is not None:
        raise BadRequest("tool_choice cannot force a call that must also keep to a response format", field=FIELD)
    allowed = [tool for tool in tools if choice == "required" or tool["function"]["name"] == _name(choice)]
    if not allowed:
        raise BadRequest("tool_choice names none of the tools", field=FIELD)
    return Offer(tuple(tools), json.dumps({"anyOf": [_call_schema(tool["function"]) for tool in allowed]}))


def _name(choice: Any) -> str:
    """The function that a choice names. Raises Unsupported for other kinds of choices."""
    named = choice.get("function", choice) if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = named.get("name") if isinstance(named, dict) else None
    if not isinstance(name, str):
        raise Unsupported('tool_choice must be "none", "auto", "required" or name a function', field=FIELD)
    return name


def _call_schema(function: dict[str, Any]) -> dict[str, Any]:
    parameters = function.get("parameters") or ANY_ARGUMENTS
    if '"$ref"' in json.dumps(parameters):
        message = f"tool_choice cannot force {function['name']}: its parameters hold a $ref"
        raise Unsupported(message, field=FIELD)
    properties = {"name": {"const": function["name"]}, "arguments": {"type": "object"} | parameters}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
