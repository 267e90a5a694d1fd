"""A picture of the log over time: how many records of what kind came when, and what stands out among them.

It is drawn from the heads of lines, unchecked, and holds nothing but kinds, numbers and times. Whether the log is sound
is the business of `verify`.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from minivault.moment import read_moment
from minivault.vault.place import read_lines
from minivault.vault.proof.checkpoint import checkpoints

_HEAD = re.compile(rb'\{"type":"([a-z_]{1,32})","v":\d+,"seq":(\d{1,18}),"timestamp":"([0-9TZ:.-]{20,35})"')
ROUTINE = frozenset({"genesis", "segment", "key", "interaction", "read", "start", "stop", "model"})
"""Kinds that are counted alone; every other stands out."""
MAX_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Standout:
    """A record, or a checkpoint, that is shown by itself."""

    type: str
    seq: int
    time_ns: int


@dataclass(slots=True)
class Timeline:
    """`counts` has a row for each of equal spans from `since_ns` to `until_ns`: kind → how many."""

    since_ns: int
    until_ns: int
    counts: list[dict[str, int]]
    events: deque[Standout] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    """The last of them."""

    def add(self, type_: str, seq: int, time_ns: int) -> None:
        """Count what lies within, and note it where it stands out."""
        if not self.since_ns <= time_ns < self.until_ns:
            return
        span = (time_ns - self.since_ns) * len(self.counts) // (self.until_ns - self.since_ns)
        if type_ != "checkpoint":
            self.counts[span][type_] = self.counts[span].get(type_, 0) + 1
        if type_ not in ROUTINE:
            self.events.append(Standout(type_, seq, time_ns))


def timeline(directory: Path, since_ns: int, until_ns: int, num_spans: int) -> Timeline:
    """The picture between two times, nanoseconds since 1970, the second exclusive and later. Raises OSError."""
    drawn = Timeline(since_ns, until_ns, [{} for _ in range(num_spans)])
    for line in read_lines(directory):
        if head := _HEAD.match(line):
            type_, seq, written = head[1].decode("ascii"), int(head[2]), head[3].decode("ascii")
            try:
                drawn.add(type_, seq, read_moment(written))
            except (ValueError, OverflowError):  # no record of ours
                continue
    for one in checkpoints(directory):
        if isinstance(one.get("seq"), int) and isinstance(one.get("time_ns"), int):
            drawn.add("checkpoint", one["seq"], one["time_ns"])
    return drawn
