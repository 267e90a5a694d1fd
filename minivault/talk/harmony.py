"""Harmony: answers made of messages, each in a channel (gpt-oss).

`<|channel|>analysis<|message|>…<|end|>` is thought, `final` is the answer, `commentary` to a function is a call and
stays as it is for whoever reads calls, `commentary` to nobody is said before calls and so is part of the answer.
"""

from __future__ import annotations

import re

from minivault.talk.pieces import overlap

START, CHANNEL, MESSAGE, END, CALL = "<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>"
MARKS = (START, CHANNEL, MESSAGE, END, CALL, "<|constrain|>", "<|return|>")
ENDING = f"{END}{START}assistant{CHANNEL}final{MESSAGE}"
_ENDS = (END, CALL, "<|return|>", START, CHANNEL)
"""What a message ends at."""
_BEGINNINGS = (START, CHANNEL, "to=")
"""What a header begins with; the prompt has written its first words."""
_RECIPIENT = re.compile(r"to=([\w.-]+)")
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_FINAL, _ANALYSIS, _CALL = "final", "analysis", "call"


class Harmony:
    """A `types.Thought` of messages in channels. Text without any header is the answer's."""

    def __init__(self) -> None:
        self._held = ""
        self._thought = ""
        self._channel = ""
        """Of the message under way; empty in a header."""
        self._has_begun = False

    @property
    def is_open(self) -> bool:
        return self._channel in ("", _ANALYSIS)

    def feed(self, text: str) -> str:
        self._held += text
        said = ""
        while (piece := self._body() if self._channel else self._header()) is not None:
            said += piece
        return said

    def take(self) -> str:
        thought, self._thought = self._thought, ""
        return thought

    def finish(self) -> str:
        held, self._held = self._held, ""
        return self._told(held) if self._channel else ""

    def _header(self) -> str | None:
        """Read a header once it is whole; what belongs to no message is nobody's."""
        start = self._held.lstrip()
        if not self._has_begun and not any(start.startswith(m) or m.startswith(start) for m in _BEGINNINGS):
            self._has_begun, self._channel = True, _FINAL
            return ""
        header, found, rest = self._held.partition(MESSAGE)
        if not found:
            self._held = header.rpartition(END)[2]
            return None
        self._held, self._has_begun = rest, True
        recipient, channel = _RECIPIENT.search(header), _CHANNEL.search(header)
        if recipient:
            self._channel = _CALL
            return f"{CHANNEL}commentary to={recipient[1]}{MESSAGE}"
        self._channel = _ANALYSIS if channel and channel[1] == _ANALYSIS else _FINAL
        return ""

    def _body(self) -> str | None:
        found = [(at, mark) for mark in _ENDS if (at := self._held.find(mark)) >= 0]
        if found:
            at, mark = min(found)
            said = self._told(self._held[:at]) + (CALL if self._channel == _CALL else "")
            self._held = self._held[at if mark in (START, CHANNEL) else at + len(mark) :]
            self._channel = ""
            return said
        kept = len(self._held) - max(overlap(self._held, mark) for mark in _ENDS)
        text, self._held = self._held[:kept], self._held[kept:]
        return self._told(text) if text else None

    def _told(self, text: str) -> str:
        if self._channel != _ANALYSIS:
            return text
        self._thought += text
        return ""
