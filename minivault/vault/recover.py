"""What dead processes left behind: their open journal entries become `interrupted` records, once each.

How much of an answer had been sent is in the entry. Because a generation is reproducible, the caller may pass a way to
run it again; what that gives counts as the answer only where its tokens and bytes are as many as were sent. Of an
answer that cannot be computed again the entry holds what was sent.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.vault.directory import is_same_file
from minivault.vault.disk import Disk
from minivault.vault.entry import interaction
from minivault.vault.journal import DIRECTORY, OpenEntry, read_open
from minivault.vault.reader import read_records
from minivault.vault.record import Draft, Place

Regenerate = Callable[[Mapping[str, Any], int, int], "tuple[str, Sequence[int], str] | None"]
"""(opening, tokens sent, bytes sent) -> the text, tokens and thoughts that had been sent, or None where it cannot be
told. Bytes are of both."""
Append = Callable[[Draft], Place]


@dataclass(frozen=True, slots=True)
class Recovered:
    """One interaction that a dead process left open and that is recorded now."""

    id: str
    seq: int
    num_tokens: int
    num_bytes: int
    reconstructed: bool


def recover_journals(
    directory: Path, append: Append, *, regenerate: Regenerate | None = None, disk: Disk | None = None
) -> list[Recovered]:
    """Record what every dead process left open, then remove its journal. Raises OSError, VaultUnavailable."""
    recovered: list[Recovered] = []
    for path in sorted((directory / DIRECTORY).glob("*.jsonl")):
        with _abandoned(path) as is_free:
            if is_free:
                recovered += _recover(directory, read_open(path), append, regenerate)
                (disk or Disk()).unlink(path)
    return recovered


@contextmanager
def _abandoned(path: Path) -> Iterator[bool]:
    """Hold a journal's lock; yields False where its owner lives or somebody was quicker."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        yield False
        return
    try:
        yield is_same_file(path, fd)
    finally:
        os.close(fd)


def _recover(
    directory: Path, entries: Sequence[OpenEntry], append: Append, regenerate: Regenerate | None
) -> list[Recovered]:
    known = _recorded(directory, entries) if entries else set()
    return [_record(entry, append, regenerate) for entry in entries if entry.opening.get("id") not in known]


def _after(entry: OpenEntry) -> int:
    """The seq that the log had reached when an entry was opened: its record can only stand later."""
    after = entry.opening.get("after")
    return after if isinstance(after, int) else 0


def _recorded(directory: Path, entries: Sequence[OpenEntry]) -> set[Any]:
    """Which of the entries are in the log already: their process died between the record and its mark."""
    wanted = {entry.opening.get("id") for entry in entries}
    records = read_records(directory, from_seq=min(_after(entry) for entry in entries) + 1)
    return {record["id"] for record in records if record.get("type") == "interaction" and record.get("id") in wanted}


def _record(entry: OpenEntry, append: Append, regenerate: Regenerate | None) -> Recovered:
    opening, num_tokens, num_bytes = entry.opening, entry.num_tokens, entry.num_bytes
    answer = _answer(entry, regenerate)
    text, tokens, reasoning = answer if answer is not None else ("", (), "")
    num_prompt_tokens = len(opening["prompt_tokens"])
    closing = {
        "status": "interrupted",
        "finish_reason": None,
        "response": text,
        "completion_tokens": list(tokens),
        "reasoning": reasoning,
        "usage": {
            "prompt_tokens": num_prompt_tokens,
            "completion_tokens": num_tokens,
            "total_tokens": num_prompt_tokens + num_tokens,
        },
        "timings": {},
        "error": {"code": "interrupted", "message": "the process that gave this answer ended before it"},
        "sent": {"tokens": num_tokens, "bytes": num_bytes},
        "reconstructed": answer is not None,
    }
    place = append(interaction(opening, closing))
    return Recovered(opening["id"], place.seq, num_tokens, num_bytes, answer is not None)


def _answer(entry: OpenEntry, regenerate: Regenerate | None) -> tuple[str, Sequence[int], str] | None:
    """Exactly what had been sent, or None where that cannot be told."""
    if not entry.num_bytes:
        return "", (), ""
    if any(entry.text) or any(entry.thought):
        answer: tuple[str, Sequence[int], str] | None = ("".join(entry.text), (), "".join(entry.thought))
    else:
        answer = regenerate(entry.opening, entry.num_tokens, entry.num_bytes) if regenerate else None
    if answer is None:
        return None
    text, tokens, reasoning = answer
    size = len((text + reasoning).encode("utf-8", "surrogatepass"))
    has_all = len(tokens) == entry.num_tokens or any(entry.text) or any(entry.thought)
    return answer if has_all and size == entry.num_bytes else None
