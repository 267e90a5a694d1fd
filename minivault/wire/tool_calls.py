"""Finds tool calls in a model's text as it comes, in the format that its family writes them in (`talk.calls`).

Text that turns out not to be a call, or is one of a tool that was not offered, is given back unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from minivault.talk.call_text import Offered, ToolCall, json_calls
from minivault.talk.calls import HERMES, Bracket, call_format
from minivault.talk.pieces import overlap
from minivault.types import Message

__all__ = ["Offered", "ToolCall", "ToolCallReader", "offered", "read_tool_calls", "thought", "with_tool_names"]

_QUOTE = re.compile(r'\\.|(")', re.DOTALL)
_BARE = ("{", "[", "")
"""What a reply begins with that may be nothing but JSON."""


def offered(tools: Iterable[Mapping[str, Any]]) -> Offered:
    """The tools as a request lists them; what has no name cannot be called."""
    functions = [function for tool in tools if isinstance(function := tool.get("function"), dict)]
    return {
        function["name"]: parameters if isinstance(parameters := function.get("parameters"), dict) else {}
        for function in functions
        if isinstance(function.get("name"), str)
    }


def thought(text: str) -> dict[str, str]:
    """What an assistant's turn holds besides its content, by both names that templates read."""
    return {"reasoning_content": text, "thinking": text}


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
    """Splits a stream of text into what to show and what to call. Feed pieces in order, then `finish` once. `format` is
    the model's (`ModelInfo.call_format`)."""

    tools: Offered
    format: str = HERMES
    _held: str = ""
    _has_shown: bool = False
    _brackets: tuple[Bracket, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._brackets = call_format(self.format).brackets

    def feed(self, text: str) -> tuple[str, list[ToolCall]]:
        """Text that is certainly not part of a call, and the calls completed by this piece."""
        self._held += text
        shown, calls = "", list[ToolCall]()
        while (found := self._closed()) is not None:
            before, inside, self._held = found
            new = self._read(inside)
            shown += self._show(before if new else before + inside)
            calls += new
        return shown + self._show(self._release()), calls

    def finish(self) -> tuple[str, list[ToolCall]]:
        """What was still held back: calls when it reads as such, else text."""
        held, self._held = self._held, ""
        at, _ = self._opening(held)
        if at < 0:
            calls = json_calls(held, self.tools) if not self._has_shown else []
            return ("", calls) if calls else (held, [])
        calls = self._read(held[at:])
        return (self._show(held[:at]), calls) if calls else (held, [])

    def _read(self, inside: str) -> list[ToolCall]:
        """The calls in a text that begins with an opening."""
        _, bracket = self._opening(inside)
        text = inside.removeprefix(bracket.opening)
        return bracket.read(text.removesuffix(bracket.closing) if bracket.closing else text, self.tools)

    def _closed(self) -> tuple[str, str, str] | None:
        """What stands before, in and after the first bracket that is closed; None while there is none."""
        at, bracket = self._opening(self._held)
        if at < 0 or not bracket.closing:
            return None
        start = at + len(bracket.opening)
        end = self._held.find(bracket.closing, start)
        while end >= 0 and _is_quoted(self._held[start:end]):
            end = self._held.find(bracket.closing, end + 1)
        if end < 0:
            return None
        end += len(bracket.closing)
        return self._held[:at], self._held[at:end], self._held[end:]

    def _opening(self, text: str) -> tuple[int, Bracket]:
        """Where the first bracket opens, and which; -1 where none does."""
        found = [(at, bracket) for bracket in self._brackets if (at := text.find(bracket.opening)) >= 0]
        return min(found, key=lambda one: one[0], default=(-1, self._brackets[0]))

    def _release(self) -> str:
        """Take from the held text what cannot be the beginning of a call."""
        if not self._has_shown and self._held.lstrip()[:1] in _BARE:
            return ""
        start, _ = self._opening(self._held)
        if start < 0:
            start = len(self._held) - max(overlap(self._held, bracket.opening) for bracket in self._brackets)
        if not self._has_shown and not self._held[:start].strip():
            return ""
        shown, self._held = self._held[:start], self._held[start:]
        return shown

    def _show(self, text: str) -> str:
        self._has_shown = self._has_shown or bool(text.strip())
        return text if self._has_shown else ""


def read_tool_calls(text: str, tools: Offered, format: str = HERMES) -> tuple[str, list[ToolCall]]:
    """The content and the calls of a whole reply."""
    reader = ToolCallReader(tools, format)
    shown, calls = reader.feed(text)
    rest, more = reader.finish()
    return (shown + rest).rstrip() if calls or more else text, calls + more


def _is_quoted(text: str) -> bool:
    """Whether a text that begins as JSON ends inside quotes: what closes a call does not close it there."""
    return text.lstrip()[:1] in ("{", "[") and sum(1 for found in _QUOTE.finditer(text) if found[1]) % 2 == 1
