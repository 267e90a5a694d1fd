"""A conversation: what was said so far, and what of it is sent to ask the next question."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Conversation:
    """The turns so far, oldest first, and the instructions before them."""

    system: str | None = None
    turns: list[dict[str, str]] = field(default_factory=list)
    num_forgotten: int = 0
    """How many of the oldest are no longer sent."""

    def messages(self) -> list[dict[str, str]]:
        """All of it."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.turns]

    def question(self, text: str) -> list[dict[str, str]]:
        """What is sent to ask `text`."""
        messages = self.messages()
        start = len(messages) - len(self.turns)
        sent = messages[:start] + messages[start + self.num_forgotten :]
        return [*sent, {"role": "user", "content": text}]

    def clear(self) -> None:
        """Forget the turns; the instructions stay."""
        self.turns.clear()
        self.num_forgotten = 0

    def add(self, question: str, answer: str) -> None:
        """One more turn."""
        self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def take_back(self) -> str:
        """Forget the last turn and return its question; empty where there is none."""
        if not self.turns:
            return ""
        question = self.turns[-2]["content"]
        del self.turns[-2:]
        self.num_forgotten = min(self.num_forgotten, len(self.turns))
        return question

    def save(self, path: Path) -> None:
        """Write it to a new file for its owner alone. Raises OSError, also where there is a file."""
        with open(path, "x", encoding="utf-8", opener=_private) as file:
            json.dump({"messages": self.messages()}, file, ensure_ascii=False, indent=2)
            file.write("\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
