"""Reading the log in order, whole, by what is asked of it or as it grows, without ever holding more than a line.

A line that is no record is passed over here: saying so is the business of `verify`. What is shown to anybody is checked
in its place; `read_records` alone is not, and is for the vault's own upkeep.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any

from minivault.vault.directory import is_same_file
from minivault.vault.head import last_record
from minivault.vault.place import (
    Record,
    Redactions,
    checked,
    ensure_follows,
    in_place,
    lawful,
    read_lines,
    whole_chain,
)
from minivault.vault.record import compact, parse
from minivault.vault.segments import ACTIVE, segments
from minivault.vault.texts import has_text, request_of, written

_WINDOW = 64
"""How many records are looked at first where some are not shown."""
_PLAIN = re.compile(r"[A-Za-z0-9_.@:-]+", re.ASCII)
"""Names that JSON spells as they are, or with escapes for letters."""


def read_records(directory: Path, *, from_seq: int = 1) -> Iterator[Record]:
    """Every record from `from_seq` on, in order and unchecked: never to be shown."""
    for line in read_lines(directory, from_seq=from_seq):
        fields = parse(line)
        if fields is not None and _seq(fields) >= from_seq:
            yield fields


def last_records(directory: Path, count: int) -> list[Record]:
    """The last `count` records of the log, in order; reads no older segment than that takes. Raises VaultError."""
    files = segments(directory)
    end = next((_seq(last) for segment in reversed(files) if (last := last_record(segment)) is not None), 0)
    chain = whole_chain(directory, from_seq=max(1, end - count + 1)) if count > 0 else ()
    redactions = Redactions(directory)
    return [redactions.lawful(record) for record in chain]


def last_shown(directory: Path, count: int, hidden: Collection[str] = (), wanted: str | None = None) -> list[Record]:
    """The last `count` records that are of no `hidden` type (and of the `wanted` one), in order. Raises VaultError."""
    size = max(count, _WINDOW)
    while True:
        window = last_records(directory, size if hidden or wanted else count)
        found = [r for r in window if r["type"] not in hidden and wanted in (None, r["type"])]
        if len(found) >= count or len(window) < size:
            return found[-count:] if count else []
        size *= 4


def _seq(fields: Record) -> int:
    seq = fields.get("seq")
    return seq if isinstance(seq, int) else 0


def follow(
    directory: Path, *, after_seq: int, wait: Callable[[float], object] = time.sleep, poll_s: float = 0.2
) -> Iterator[Record]:
    """Every record after `after_seq` as it is written, for ever, across rotations. Raises VaultError."""
    last: Record = {"seq": after_seq}
    path = directory / ACTIVE
    while True:
        with _active(path) as file:
            for record in whole_chain(directory, from_seq=last["seq"] + 1):
                last = record
                yield lawful(directory, record)
            while file is not None and is_same_file(path, file.fileno()):
                for line in _new_lines(file):
                    if _seq(parse(line) or {}) > last["seq"]:
                        last = _following(last, line)
                        yield lawful(directory, last)
                wait(poll_s)
        wait(poll_s)


def _following(last: Record, line: bytes) -> Record:
    record = checked(b"", line)
    if "hash" in last:
        ensure_follows(last, record)
    return record


@contextmanager
def _active(path: Path) -> Iterator[IO[bytes] | None]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:  # between two segments
        yield None
        return
    with os.fdopen(fd, "rb") as file:
        yield file


def _new_lines(file: IO[bytes]) -> Iterator[bytes]:
    """What has been added to an open segment since the last call; an unfinished line waits."""
    while True:
        start = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(start)
            return
        yield line


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records; None and empty mean any. Times are nanoseconds since 1970, `until_ns` exclusive."""

    text: str = ""
    since_ns: int | None = None
    until_ns: int | None = None
    model: str | None = None
    key: tuple[str, ...] = ()
    """Ids of access keys, any of which will do."""
    status: str | None = None
    api: str | None = None
    type: str | None = "interaction"
    user: str | None = None
    """Whom the request names: see `users_of`."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Filter:
        """The one of which `describe` has told. Raises ValueError where this version knows less of it."""
        if not told.keys() <= set(cls.__slots__):
            raise ValueError(f"a filter of {', '.join(sorted(told))} is not known here")
        return cls(**{"type": None, **told, "key": tuple(told.get("key", ()))})

    def matches(self, record: Record) -> bool:
        """Whether a record is one of them. Text is looked for in what was asked, thought and answered, whatever its
        case."""
        for name in ("type", "model", "status", "api"):
            wanted = getattr(self, name)
            if wanted is not None and record.get(name) != wanted:
                return False
        if self.key and record.get("key") not in self.key:
            return False
        if self.user is not None and self.user not in users_of(record):
            return False
        time_ns = record.get("time_ns", 0)
        if self.since_ns is not None and time_ns < self.since_ns:
            return False
        if self.until_ns is not None and time_ns >= self.until_ns:
            return False
        return not self.text or has_text(self.text, written(record))

    def may_match(self, line: bytes) -> bool:
        """A quick look at a line's bytes: False only where it cannot match."""
        for name in ("type", "model", "status", "api"):
            wanted = getattr(self, name)
            if wanted is not None and b'"%s":%s' % (name.encode("ascii"), compact(wanted)) not in line:
                return False
        if self.user is not None and _PLAIN.fullmatch(self.user) and self.user.encode("ascii") not in line:
            return b"\\\\u" in line  # a client may have spelled any letter so
        if not self.text.isascii() or compact(self.text)[1:-1] != self.text.encode("ascii"):
            return True  # it is spelled twice over in a request
        return self.text.lower().encode("ascii") in line.lower() or b"\\\\u" in line

    def describe(self) -> dict[str, Any]:
        """What was asked, as a `read` record says it."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value not in (None, "", ())}


def users_of(record: Record) -> set[str]:
    """Whom a request says that it is for: its `user`, `safety_identifier` or `metadata.user_id`, as clients have them.

    It is the client's word, and gone with the content.
    """
    body = request_of(record)
    metadata = body.get("metadata")
    said = (
        body.get("user"),
        body.get("safety_identifier"),
        metadata.get("user_id") if isinstance(metadata, dict) else 0,
    )
    return {name for name in said if isinstance(name, str)}


def search(directory: Path, wanted: Filter) -> Iterator[Record]:
    """The records that match, in the order of the log. Raises VaultError for one that is not as it was written."""
    redactions = Redactions(directory)
    for record in in_place(directory, wanted.may_match):
        if wanted.matches(record):
            yield redactions.lawful(record)


@dataclass(slots=True)
class Group:
    """One line of the statistics. Latencies are totals of a generation, in milliseconds."""

    day: str
    model: str
    key: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    num_bytes: int = 0
    """What the records take in the log, before it is compressed."""
    statuses: dict[str, int] = field(default_factory=dict)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def median_ms(self) -> float:
        return median(self.latencies_ms) if self.latencies_ms else 0.0

    def add(self, record: Record) -> None:
        usage, timings = record.get("usage") or {}, record.get("timings") or {}
        status = str(record.get("status"))
        self.requests += 1
        self.prompt_tokens += usage.get("prompt_tokens", 0)
        self.completion_tokens += usage.get("completion_tokens", 0)
        self.num_bytes += len(compact(record)) + 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if timings.get("total_ns"):
            self.latencies_ms.append(timings["total_ns"] / 1e6)


def stats(records: Iterable[Record]) -> list[Group]:
    """Requests, tokens and latency per day, model and key, in that order."""
    groups: dict[tuple[str, str, str], Group] = {}
    for record in records:
        name = (str(record["timestamp"])[:10], str(record.get("model")), str(record.get("key") or "-"))
        groups.setdefault(name, Group(*name)).add(record)
    return [groups[name] for name in sorted(groups)]
