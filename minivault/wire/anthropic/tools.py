"""Tools as Anthropic's clients write them: which of them the model is told of, and whether it must call one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from pydantic import Field, model_validator

from minivault.wire.anthropic.fields import Open


class Tool(Open):
    """A tool of the client's own, or one of Anthropic's, which has a type of its own and is not known here."""

    type: str = Field("custom", description="any but `custom` is left out of what the model is told")
    name: str | None = Field(None, min_length=1, max_length=128)
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: bool = Field(False, description="told only when a `tool_reference` in the conversation names it")

    @model_validator(mode="after")
    def _custom_tools_are_described(self) -> Tool:
        if self.type == "custom" and (self.name is None or self.input_schema is None):
            raise ValueError("a tool needs name and input_schema")
        return self

    def function(self) -> dict[str, Any]:
        """The tool as templates know it."""
        function: dict[str, Any] = {"name": self.name, "description": self.description or ""}
        function |= {"parameters": self.input_schema} | ({"strict": True} if self.strict else {})
        return {"type": "function", "function": function}


class ToolChoice(Open):
    """Whether tools may or must be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = Field(None, description="needed with type `tool`")
    disable_parallel_tool_use: bool = Field(False, description="at most one call is given")

    @model_validator(mode="after")
    def _a_tool_has_a_name(self) -> ToolChoice:
        if self.type == "tool" and self.name is None:
            raise ValueError("type tool needs name")
        return self

    @property
    def as_openai(self) -> Any:
        """The same choice in the words of `offer`."""
        if self.type == "tool":
            return {"type": "function", "name": self.name}
        return "required" if self.type == "any" else self.type


def told_tools(tools: Sequence[Tool], known: Collection[str]) -> list[dict[str, Any]]:
    """The tools that the model is told of: the client's own, but for those held back that are not `known` yet."""
    return [
        tool.function() for tool in tools if tool.type == "custom" and (not tool.defer_loading or tool.name in known)
    ]


def left_out(tools: Sequence[Tool]) -> tuple[str, ...]:
    """The tools that cannot be told of, as noted fields."""
    return tuple(f"tools.{tool.name or tool.type}" for tool in tools if tool.type != "custom")
