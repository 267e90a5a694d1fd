"""Asking the log: which records, and how many of what by day, model and key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from minivault.vault.reader import Record, read_lines
from minivault.vault.record import compact, parse


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records; None and empty mean any. Times are nanoseconds since 1970, `until_ns` exclusive."""

    text: str = ""
    since_ns: int | None = None
    until_ns: int | None = None
    model: str | None = None
    key: str | None = None
    status: str | None = None
    api: str | None = None
    type: str | None = "interaction"

    def matches(self, record: Record) -> bool:
        """Whether a record is one of them. Text is looked for in prompt and response, whatever its case."""
        for name in ("type", "model", "key", "status", "api"):
            wanted = getattr(self, name)
            if wanted is not None and record.get(name) != wanted:
                return False
        time_ns = record.get("time_ns", 0)
        if self.since_ns is not None and time_ns < self.since_ns:
            return False
        if self.until_ns is not None and time_ns >= self.until_ns:
            return False
        return not self.text or any(self.text.lower() in str(record.get(k, "")).lower() for k in ("prompt", "response"))

    def may_match(self, line: bytes) -> bool:
        """A quick look at a line's bytes: False only where it cannot match."""
        if not self.text.isascii():
            return True
        return compact(self.text)[1:-1].lower() in line.lower()

    def describe(self) -> dict[str, str | int]:
        """What was asked, as a `read` record says it."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value not in (None, "")}


def search(directory: Path, wanted: Filter) -> Iterator[Record]:
    """The records that match, in the order of the log."""
    for line in read_lines(directory):
        if wanted.may_match(line):
            record = parse(line)
            if record is not None and wanted.matches(record):
                yield record


@dataclass(slots=True)
class Group:
    """One line of the statistics. Latencies are totals of a generation, in milliseconds."""

    day: str
    model: str
    key: str
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
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
