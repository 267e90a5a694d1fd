"""The items of a response's `input`, and the turns of a conversation that they are to a model.

What an answer consists of can be sent back as it is: a thought, a text and the calls that follow it are one turn of the
assistant's, as they were when the model made them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from minivault.errors import BadRequest
from minivault.types import Message
from minivault.wire.openai.fields import Strict
from minivault.wire.openai.messages import CalledFunction, ChatMessage, TextPart, ToolCallPart
from minivault.wire.openai.response_tools import FREE_INPUT
from minivault.wire.tool_calls import thought, with_tool_names

THOUGHT = "reasoning_content"
"""What an assistant's turn has where it thought."""
CALLS = ("function_call", "custom_tool_call")
OUTPUTS = ("function_call_output", "custom_tool_call_output")


class ThoughtPart(Strict):
    """A part of what a model thought."""

    type: Literal["reasoning_text", "summary_text"]
    text: str


class InputItem(Strict):
    """One item of `input`: a message, a call, what the called tool returned, a thought, or the id of one of these."""

    type: (
        Literal[
            "message",
            "function_call",
            "function_call_output",
            "custom_tool_call",
            "custom_tool_call_output",
            "reasoning",
            "item_reference",
        ]
        | None
    ) = None
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[TextPart | ThoughtPart] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | list[TextPart] | None = None
    summary: list[ThoughtPart] | None = None
    status: str | None = None
    phase: str | None = None
    namespace: str | None = None
    encrypted_content: str | None = None

    @property
    def kind(self) -> str:
        """Its type; an item without one is a message, or where it is nothing but an id a reference."""
        return self.type or ("item_reference" if self.id and not self.role else "message")

    def message(self) -> Message:
        """This item as a turn of its own. Raises BadRequest when a member its type needs is missing."""
        if self.kind == "reasoning":
            return Message("assistant", "", thought(_text(self.content or self.summary)))
        if self.kind in CALLS:
            return self._call()
        if self.kind in OUTPUTS:
            text, call_id = _text(self._needed("output")), self._needed("call_id")
            return ChatMessage(role="tool", content=text, tool_call_id=call_id).message()
        content = self.content if self.role == "assistant" else self._needed("content")
        return ChatMessage(role=self._needed("role"), content=_text(content)).message()

    def listed(self) -> dict[str, Any]:
        """This item as it is given back: text in parts, and as whole as it is."""
        shown = {"type": self.kind, "status": "completed"} | self.model_dump(exclude_unset=True, exclude_none=True)
        if isinstance(self.content, str):
            shown["content"] = [{"type": _part_type(self.role), "text": self.content}]
        for part in shown.get("content", ()) if self.role == "assistant" else ():
            part.setdefault("annotations", [])
        return shown

    def _call(self) -> Message:
        call_id, name = self._needed("call_id"), self._needed("name")
        is_function = self.kind == "function_call"
        arguments = self._needed("arguments") if is_function else json.dumps({FREE_INPUT: self._needed("input")})
        call = ToolCallPart(id=call_id, function=CalledFunction(name=name, arguments=arguments))
        try:
            return ChatMessage(role="assistant", tool_calls=[call]).message()
        except BadRequest as error:
            raise BadRequest(error.message.replace("messages", "input", 1), field="input") from None

    def _needed(self, name: str) -> Any:
        value = getattr(self, name)
        if value is None:
            raise BadRequest(f"input: an item of type {self.kind} needs {name}", field="input")
        return value


def turns(items: Sequence[InputItem]) -> tuple[Message, ...]:
    """A conversation's turns. A thought that led to nothing is left out."""
    found: list[Message] = []
    for item in items:
        turn = item.message()
        if found and _continues(found[-1], turn):
            found[-1] = _joined(found[-1], turn)
        else:
            found.append(turn)
    return with_tool_names([turn for turn in found if not _is_thought(turn)])


def _continues(turn: Message, following: Message) -> bool:
    """Whether the assistant was still at one turn: it had only thought so far, or it makes a call."""
    if (turn.role, following.role) != ("assistant", "assistant"):
        return False
    return _is_thought(turn) or "tool_calls" in following.extra


def _is_thought(turn: Message) -> bool:
    return THOUGHT in turn.extra and not turn.content and "tool_calls" not in turn.extra


def _joined(turn: Message, following: Message) -> Message:
    extra = {**turn.extra, **following.extra}
    for name in (*thought(""), "tool_calls"):
        if name in turn.extra and name in following.extra:
            extra[name] = turn.extra[name] + following.extra[name]
    return replace(turn, content=turn.content + following.content, extra=extra)


def _text(content: str | Sequence[TextPart | ThoughtPart] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "\n".join(part.text for part in content)


def _part_type(role: str | None) -> str:
    return "output_text" if role == "assistant" else "input_text"
