"""Conversations as Ollama's clients write them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, field_validator

from minivault.types import Message, Role
from minivault.wire.tool_calls import thought
from minivault.wire.validation import Body


class FunctionCall(Body):
    model_config = ConfigDict(strict=True)

    name: str
    arguments: dict[str, Any] = Field({})


class ToolCallBody(Body):
    model_config = ConfigDict(strict=True)

    id: str | None = None
    function: FunctionCall


class MessageBody(Body):
    """One turn as Ollama's clients write it."""

    model_config = ConfigDict(strict=True)

    role: str
    content: str | None = None
    tool_calls: list[ToolCallBody] | None = None
    tool_name: str | None = None
    thinking: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    """All three: what the assistant thought before this turn."""
    tool_call_id: str | None = None

    @field_validator("role")
    @classmethod
    def _role_is_known(cls, value: str) -> str:
        if value.lower() not in ("system", "user", "assistant", "tool"):
            raise ValueError("must be one of system, user, assistant and tool")
        return value.lower()

    def message(self) -> Message:
        extra: dict[str, Any] = {}
        if self.tool_calls:
            extra["tool_calls"] = [
                {"type": "function", **call.model_dump(exclude_none=True)} for call in self.tool_calls
            ]
        if self.tool_name:
            extra["name"] = self.tool_name
        if thoughts := self.thinking or self.reasoning_content or self.reasoning:
            extra |= thought(thoughts)
        if self.tool_call_id:
            extra["tool_call_id"] = self.tool_call_id
        role: Role = self.role  # type: ignore[assignment]  # the validator above leaves only these four
        return Message(role, self.content or "", extra)


def _without_nulls(tool: dict[str, Any]) -> dict[str, Any]:
    """What its parameters hold stays: they are a schema."""
    known = {key: value for key, value in tool.items() if value is not None}
    if isinstance(function := known.get("function"), dict):
        known["function"] = {key: value for key, value in function.items() if value is not None}
    return known


Tool = Annotated[dict[str, Any], AfterValidator(_without_nulls)]
"""A tool, in the order and with the members that the model is told of."""
