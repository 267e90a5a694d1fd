"""How a model is told of tools whose chat template knows none: in plain text, in the form that most models know.

The tools stand in the system's message, a call that was made is text of the assistant, and what a tool returned is said
by the user.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from minivault.types import Message, Role

RULES = """You can call the functions listed between <tools> and </tools>, one JSON object a line:
<tools>
{tools}
</tools>
To call one, answer with its name and its arguments as a JSON object between <tool_call> and </tool_call>:
<tool_call>
{{"name": "function name", "arguments": {{"parameter": "value"}}}}
</tool_call>
What it returns comes between <tool_response> and </tool_response>. Answer in words when no call is needed."""


def told(messages: Sequence[Message], tools: Sequence[dict[str, Any]], *, by_user: bool = False) -> list[Message]:
    """The conversation for a template that knows nothing but system, user and assistant; `by_user`: nor a system."""
    turns: list[Message] = []
    before = ""
    for message in messages:
        turn = Message("user", _result(message.content)) if message.role == "tool" else _without_calls(message)
        if turn.role == "user" and turns and turns[-1].role == "user" and "tool" in (message.role, before):
            turns[-1] = replace(turns[-1], content=f"{turns[-1].content}\n{turn.content}")  # templates want turns
        else:
            turns.append(turn)
        before = message.role
    return _with_rules(turns, tools, "user" if by_user else "system") if tools else turns


def _with_rules(turns: list[Message], tools: Sequence[dict[str, Any]], role: Role) -> list[Message]:
    """In the first turn where that is the role's, else before it."""
    rules = RULES.format(tools="\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools))
    if not turns or turns[0].role != role:
        return [Message(role, rules), *turns]
    said = turns[0].content
    parts = (rules, said) if role == "user" else (said, rules)
    return [replace(turns[0], content="\n\n".join(part for part in parts if part)), *turns[1:]]


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
