"""How a model is told of tools whose chat template knows none: in plain text, in the form that most models know.

The tools stand in the system's message, a call that was made is text of the assistant, and what a tool returned is said
by the user.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from minivault.types import Message

RULES = """You can call the functions listed between <tools> and </tools>, one JSON object a line:
<tools>
{tools}
</tools>
To call one, answer with its name and its arguments as a JSON object between <tool_call> and </tool_call>:
<tool_call>
{{"name": "function name", "arguments": {{"parameter": "value"}}}}
</tool_call>
What it returns comes between <tool_response> and </tool_response>. Answer in words when no call is needed."""


def told(messages: Sequence[Message], tools: Sequence[dict[str, Any]]) -> list[Message]:
    """The conversation for a template that knows nothing but system, user and assistant."""
    turns: list[Message] = []
    for is_result, group in groupby(messages, key=lambda message: message.role == "tool"):
        if is_result:
            turns.append(Message("user", "\n".join(_result(message.content) for message in group)))
        else:
            turns += [_without_calls(message) for message in group]
    return _with_rules(turns, tools) if tools else turns


def _with_rules(turns: list[Message], tools: Sequence[dict[str, Any]]) -> list[Message]:
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    rules = RULES.format(tools=listed)
    if turns and turns[0].role == "system":
        first = turns[0]
        return [replace(first, content=f"{first.content}\n\n{rules}" if first.content else rules), *turns[1:]]
    return [Message("system", rules), *turns]


def _result(content: str) -> str:
    return f"<tool_response>\n{content}\n</tool_response>"


def _without_calls(message: Message) -> Message:
    calls = message.extra.get("tool_calls", ())
    if not calls:
        return message
    written = [_call(call["function"]) for call in calls]
    content = "\n".join([message.content, *written] if message.content else written)
    return replace(message, content=content, extra={k: v for k, v in message.extra.items() if k != "tool_calls"})


def _call(function: dict[str, Any]) -> str:
    said = {"name": function["name"], "arguments": function.get("arguments") or {}}
    return f"<tool_call>\n{json.dumps(said, ensure_ascii=False)}\n</tool_call>"
