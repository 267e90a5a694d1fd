"""Finds tool calls in a model's text.

Templates that describe tools to a model teach it one of two habits, and both are read here: JSON between
`<tool_call>` and `</tool_call>` (one call or a list), or a reply that is nothing but such JSON. Text that turns out
not to be a call, or is one of a tool that was not offered, is given back unchanged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from minivault.types import Message

OPEN, CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: dict[str, Any]


Offered = Mapping[str, Mapping[str, Any]]
"""The tools whose calls are read: name → JSON schema of the parameters. None: text is text."""


def offered(tools: Iterable[Mapping[str, Any]]) -> Offered:
    """The tools as a request lists them; what has no name cannot be called."""
    functions = [function for tool in tools if isinstance(function := tool.get("function"), dict)]
    return {
        function["name"]: parameters if isinstance(parameters := function.get("parameters"), dict) else {}
        for function in functions
        if isinstance(function.get("name"), str)
    }


def with_tool_names(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The conversation in which a tool's result that lacks the tool's name has that of the call it answers."""
    names = {
        call["id"]: call["function"]["name"]
        for message in messages
        for call in message.extra.get("tool_calls", ())
        if call.get("id")
    }
    return tuple(_named(message, names.get(message.extra.get("tool_call_id", ""))) for message in messages)


def _named(message: Message, name: str | None) -> Message:
    is_nameless = message.role == "tool" and name is not None and "name" not in message.extra
    return replace(message, extra=message.extra | {"name": name}) if is_nameless else message


@dataclass(slots=True)
class ToolCallReader:
    """Splits a stream of text into what to show and what to call. Feed pieces in order, then `finish` once."""

    tools: Offered
    _held: str = ""
    _has_shown: bool = False
    _calls: list[ToolCall] = field(default_factory=list)

    def feed(self, text: str) -> tuple[str, list[ToolCall]]:
        """Text that is certainly not part of a call, and the calls completed by this piece."""
        self._held += text
        shown, calls = "", []
        while OPEN in self._held and CLOSE in self._held.split(OPEN, 1)[1]:
            before, _, rest = self._held.partition(OPEN)
            inside, _, self._held = rest.partition(CLOSE)
            found = _parse(inside, self.tools)
            shown += self._show(before if found else before + OPEN + inside + CLOSE)
            calls += found
        return shown + self._show(self._release()), calls

    def finish(self) -> tuple[str, list[ToolCall]]:
        """What was still held back: calls when it reads as such, else text."""
        held, self._held = self._held, ""
        before, _, inside = held.partition(OPEN)
        calls = _parse(inside or before, self.tools)
        return ("" if not inside else self._show(before), calls) if calls else (held, [])

    def _release(self) -> str:
        """Take from the held text what cannot be the beginning of a call."""
        if not self._has_shown and self._held.lstrip()[:1] in ("{", "[", ""):
            return ""
        start = self._held.find(OPEN)
        if start < 0:
            start = len(self._held) - _overlap(self._held)
        if not self._has_shown and not self._held[:start].strip():
            return ""
        shown, self._held = self._held[:start], self._held[start:]
        return shown

    def _show(self, text: str) -> str:
        self._has_shown = self._has_shown or bool(text.strip())
        return text if self._has_shown else ""


def read_tool_calls(text: str, tools: Offered) -> tuple[str, list[ToolCall]]:
    """The content and the calls of a whole reply."""
    reader = ToolCallReader(tools)
    shown, calls = reader.feed(text)
    rest, more = reader.finish()
    return (shown + rest).rstrip() if calls or more else text, calls + more


def _overlap(text: str) -> int:
    """Length of the longest end of `text` that begins the opening tag."""
    return next((size for size in range(min(len(OPEN) - 1, len(text)), 0, -1) if OPEN.startswith(text[-size:])), 0)


def _parse(text: str, tools: Offered) -> list[ToolCall]:
    value = _json(text)
    items = value if isinstance(value, list) else [value]
    calls = [_call(item, tools) for item in items]
    return [call for call in calls if call] if all(calls) else []


def _call(item: Any, tools: Offered) -> ToolCall | None:
    name = item.get("name") if isinstance(item, dict) else None
    if not isinstance(name, str) or name not in tools:
        return None
    arguments = item.get("arguments", item.get("parameters"))
    if isinstance(arguments, str) and arguments:
        arguments = _json(arguments)
    elif not arguments and not tools[name].get("required"):
        arguments = {}
    return ToolCall(name, arguments) if isinstance(arguments, dict) else None


def _json(text: str) -> Any:
    """The value, or None where the text is not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
