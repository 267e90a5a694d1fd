"""The tools of a response: flat where chat nests them, and of many types.

A model is told of functions, and of custom tools as functions that take one string. Tools that OpenAI runs itself
(`web_search`, `mcp`, …) and any other type are noted: nobody here could run them, so no model is told of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, RootModel, Tag, field_validator

from minivault.wire.openai.fields import Strict

FREE_INPUT = "input"
"""The one argument of a custom tool, as a model is told of it."""
FREE_PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {FREE_INPUT: {"type": "string"}},
    "required": [FREE_INPUT],
    "additionalProperties": False,
}
KNOWN_TYPES = ("function", "custom")

ToolName = Annotated[str, Field(min_length=1, max_length=64)]


class FlatTool(Strict):
    """A function."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def nested(self) -> dict[str, Any]:
        """This tool as chat has it."""
        return {"type": "function", "function": self.model_dump(exclude={"type", "strict"}, exclude_none=True)}


class CustomTool(Strict):
    """A tool that takes text. The grammar its text should follow (`format`) is noted, not enforced."""

    type: Literal["custom"]
    name: ToolName
    description: str | None = None
    format: dict[str, Any] | None = None

    def nested(self) -> dict[str, Any]:
        """This tool as chat has it: a function that takes one string."""
        told = self.model_dump(include={"name", "description"}, exclude_none=True)
        return {"type": "function", "function": told | {"parameters": FREE_PARAMETERS}}


class NotedTool(RootModel[dict[str, Any]]):
    """A tool of a type that nobody here could run, as it was sent."""

    @field_validator("root")
    @classmethod
    def _has_a_type(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("type"), str):
            raise ValueError("type is required, and a string")
        return value


def _type_of(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return kind if kind in KNOWN_TYPES else "noted"


Tool = Annotated[
    Annotated[FlatTool, Tag("function")] | Annotated[CustomTool, Tag("custom")] | Annotated[NotedTool, Tag("noted")],
    Discriminator(_type_of),
]


def told(tools: Iterable[FlatTool | CustomTool | NotedTool]) -> list[dict[str, Any]]:
    """What a model is told of, as chat has it."""
    return [tool.nested() for tool in tools if not isinstance(tool, NotedTool)]


def noted(tools: Sequence[FlatTool | CustomTool | NotedTool]) -> list[str]:
    """The fields that hold what no model is told of."""
    return [f"tools.{index}" for index, tool in enumerate(tools) if isinstance(tool, NotedTool)]
