"""Conversations as OpenAI's clients write them: roles, content as text or parts, tools and tool calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from minivault.errors import BadRequest
from minivault.types import Message, Role
from minivault.wire.fields import unread
from minivault.wire.openai.fields import Strict
from minivault.wire.tool_calls import ToolCall, thought

ROLES: dict[str, Role] = {"developer": "system", "function": "tool"}


class TextPart(Strict):
    """A part of a message's content. Only text: this server reads no images, sound or files."""

    type: Literal["text", "input_text", "output_text"]
    text: str

    @field_validator("type", mode="before")
    @classmethod
    def _is_read_here(cls, value: Any) -> Any:
        if instead := unread(value):
            raise ValueError(instead)
        return value


class CalledFunction(Strict):
    name: str
    arguments: str = Field(description="JSON text")


class ToolCallPart(Strict):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class ChatMessage(Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallPart] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    """All three: what the assistant thought before this turn."""

    def message(self) -> Message:
        """This turn for the template. Raises BadRequest when it says nothing, or a call's arguments are not JSON."""
        if self.content is None and self.role != "assistant":
            raise BadRequest(f"messages: a {self.role} message needs content", field="messages")
        extra: dict[str, Any] = {}
        if self.tool_calls:
            extra["tool_calls"] = [
                {"id": call.id, "type": "function", "function": _read_call(call.function)} for call in self.tool_calls
            ]
        if self.tool_call_id:
            extra["tool_call_id"] = self.tool_call_id
        if self.name:
            extra["name"] = self.name
        if thoughts := self.reasoning_content or self.reasoning or self.thinking:
            extra |= thought(thoughts)
        return Message(as_role(self.role), join_text(self.content), extra)


class FunctionBody(Strict):
    """A tool as the model is told of it."""

    name: str = Field(min_length=1, max_length=64)
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolBody(Strict):
    type: Literal["function"]
    function: FunctionBody


def as_role(role: str) -> Role:
    """Our role for OpenAI's: a developer speaks as the system."""
    return ROLES.get(role, role)  # type: ignore[arg-type]  # the models above admit no other role


def join_text(content: str | Sequence[TextPart] | None) -> str:
    """The text of a message's content."""
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content)


def encode_tool_call(call: ToolCall, call_id: str) -> dict[str, Any]:
    """A call as a message carries it: the arguments are JSON text here."""
    function = {"name": call.name, "arguments": json.dumps(call.arguments)}
    return {"id": call_id, "type": "function", "function": function}


def _read_call(function: CalledFunction) -> dict[str, Any]:
    try:
        arguments = json.loads(function.arguments.strip() or "{}")
    except (ValueError, RecursionError):
        arguments = ()
    if arguments is not None and not isinstance(arguments, dict):
        message = "messages: a tool call's arguments must be the JSON text of an object"
        raise BadRequest(message, field="messages")
    return {"name": function.name, "arguments": arguments or {}}
