"""Conversations as Anthropic's clients write them: turns of content blocks.

Templates know system text only at the beginning: what the system says later is told within the user's turn, between
tags that agents use for it themselves. Turns of one role that follow each other are one turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from minivault.types import Message
from minivault.wire.anthropic.fields import Open
from minivault.wire.tool_calls import thought, with_tool_names

REMINDER = "<system-reminder>\n{text}\n</system-reminder>"
READABLE = ("text", "thinking", "redacted_thinking", "tool_use", "tool_result", "tool_reference")


class TextBlock(Open):
    type: Literal["text"]
    text: str


class ThinkingBlock(Open):
    """What the model thought in an earlier turn; its signature is not looked at."""

    type: Literal["thinking"]
    thinking: str


class RedactedThinkingBlock(Open):
    """Thoughts that only their author can read: left out."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(Open):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class ToolReference(Open):
    """A tool of the request that was held back until now."""

    type: Literal["tool_reference"]
    name: str = Field(alias="tool_name")


def _ensure_readable(block: Any) -> Any:
    """A kind of content that cannot be taken is refused by its name."""
    kind = block.get("type") if isinstance(block, dict) else None
    if isinstance(kind, str) and kind not in READABLE:
        raise ValueError(f"this server reads no content of type {kind[:64]}: leave it out, or send it as text")
    return block


ResultBlock = Annotated[
    Annotated[TextBlock | ToolReference, Field(discriminator="type")], BeforeValidator(_ensure_readable)
]


class ToolResultBlock(Open):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[ResultBlock] = ""
    is_error: bool = False


Block = Annotated[
    Annotated[
        TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
        Field(discriminator="type"),
    ],
    BeforeValidator(_ensure_readable),
]


class Turn(Open):
    """One message of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block]

    @property
    def blocks(self) -> Sequence[Open]:
        return [TextBlock(type="text", text=self.content)] if isinstance(self.content, str) else self.content


def conversation(system: str | Sequence[TextBlock] | None, turns: Sequence[Turn]) -> tuple[Message, ...]:
    """The conversation as templates know it, the instructions first."""
    said = [] if system is None else [Message("system", system if isinstance(system, str) else _text(system))]
    for turn in turns:
        is_late = turn.role == "system" and any(message.role != "system" for message in said)
        for message in _messages(turn, is_late=is_late):
            is_more = bool(said) and said[-1].role == message.role != "tool"
            said.append(_joined(said.pop(), message) if is_more else message)
    return with_tool_names(said)


def referenced(turns: Sequence[Turn]) -> set[str]:
    """The names of the tools that results have made known."""
    results = [block.content for turn in turns for block in turn.blocks if isinstance(block, ToolResultBlock)]
    parts = [part for content in results if isinstance(content, list) for part in content]
    return {part.name for part in parts if isinstance(part, ToolReference)}


def _messages(turn: Turn, *, is_late: bool) -> Iterator[Message]:
    blocks, text = turn.blocks, _text(turn.blocks)
    if turn.role == "assistant":
        yield Message("assistant", text, _extra(blocks))
    elif turn.role == "system":
        yield Message("user", REMINDER.format(text=text)) if is_late else Message("system", text)
    else:
        results = [block for block in blocks if isinstance(block, ToolResultBlock)]
        yield from (Message("tool", _result(block), {"tool_call_id": block.tool_use_id}) for block in results)
        if text or not results:
            yield Message("user", text)


def _extra(blocks: Iterable[Open]) -> dict[str, Any]:
    """What an assistant's turn holds beside text: calls and thoughts."""
    calls = [
        {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": block.input}}
        for block in blocks
        if isinstance(block, ToolUseBlock)
    ]
    thoughts = "\n".join(block.thinking for block in blocks if isinstance(block, ThinkingBlock))
    return ({"tool_calls": calls} if calls else {}) | (thought(thoughts) if thoughts else {})


def _result(block: ToolResultBlock) -> str:
    text = block.content if isinstance(block.content, str) else _text(block.content)
    return f"Error: {text}" if block.is_error else text


def _text(blocks: Iterable[Open]) -> str:
    return "\n".join(filter(None, map(_told, blocks)))


def _told(block: Open) -> str:
    if isinstance(block, ToolReference):
        return f"The tool {block.name} can be called now."
    return block.text if isinstance(block, TextBlock) else ""


def _joined(first: Message, second: Message) -> Message:
    """Two turns of one role as one."""
    extra = first.extra | second.extra
    if "tool_calls" in extra:
        extra["tool_calls"] = [*first.extra.get("tool_calls", ()), *second.extra.get("tool_calls", ())]
    return replace(first, content="\n".join(filter(None, (first.content, second.content))), extra=extra)
