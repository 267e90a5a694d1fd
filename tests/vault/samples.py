"""Interactions to record, a clock that goes where it is told, and reading a log back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from minivault.vault import Closing, Opening, Place, Vault, new_id
from minivault.vault.evidence import verify
from minivault.vault.reader import read_records
from minivault.vault.verify import Report

START_NS = 1_795_000_000_000_000_000
_numbers = itertools.count(1)


class Clock:
    """Nanoseconds since 1970 that advance by a microsecond a call, and step where a test says."""

    def __init__(self, now_ns: int = START_NS) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def step(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


def opening(prompt: str = "Hello", **changes: Any) -> Opening:
    fields: dict[str, Any] = {
        "id": new_id(),
        "time_ns": START_NS + next(_numbers),
        "api": "generate",
        "stream": True,
        "model": "tiny",
        "fingerprint": "mv1:abc",
        "parameters": {"seed": 7, "temperature": 0.7},
        "prompt": prompt,
        "request": '{"prompt":"Hello"}',
        "rendered_prompt": f"<s>{prompt}",
        "prompt_tokens": (1, 2, 3),
        "client": "127.0.0.1",
        "user_agent": "test/1",
    }
    return Opening(**{**fields, **changes})


def closing(response: str = "Hi there", **changes: Any) -> Closing:
    fields: dict[str, Any] = {
        "status": "completed",
        "finish_reason": "stop",
        "response": response,
        "completion_tokens": (4, 5),
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        "timings": {"total_ns": 1_500_000},
    }
    return Closing(**{**fields, **changes})


def ask(vault: Vault, prompt: str = "Hello", response: str = "Hi there", **changes: Any) -> tuple[str, Place]:
    """One interaction from beginning to end: its id and where it stands."""
    entry = vault.begin(opening(prompt, **changes))
    entry.wait()
    return entry.id, entry.finish(closing(response))


def records(directory: Path, type_: str | None = "interaction") -> list[dict[str, Any]]:
    return [record for record in read_records(directory) if type_ in (None, record["type"])]


def check(directory: Path, **options: Any) -> Report:
    return verify(directory, **options)


def rewrite_line(path: Path, number: int, **changes: Any) -> None:
    """Change fields of one line (counted from 0) of an uncompressed segment, as somebody with an editor would."""
    lines = path.read_bytes().splitlines(keepends=True)
    fields = json.loads(lines[number])
    lines[number] = json.dumps({**fields, **changes}, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(b"".join(lines))
