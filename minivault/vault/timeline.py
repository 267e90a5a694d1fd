"""A picture of the log over time: how many records of what kind came when, and what stands out among them.

It is drawn from the heads of lines, unchecked, and holds nothing but kinds, numbers and times. Whether the log is sound
is the business of `verify`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from pathlib import Path

from minivault.vault.proof.checkpoint import checkpoints
from minivault.vault.sketch import Sketch, sketches

ROUTINE = frozenset({"genesis", "segment", "key", "interaction", "read", "start", "stop", "model"})
"""Kinds that are counted alone; every other stands out."""
MAX_EVENTS = 500


@dataclass(frozen=True, slots=True)
class Standout:
    """A record, or a checkpoint, that is shown by itself."""

    type: str
    seq: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """`counts` has a row for each of equal spans from `since_ns` to `until_ns`: kind → how many. `events` are the last
    that stand out, in order."""

    since_ns: int
    until_ns: int
    counts: list[dict[str, int]]
    events: list[Standout]


def timeline(directory: Path, since_ns: int, until_ns: int, num_spans: int, *, kept_in: Path) -> Timeline:
    """The picture between two times, nanoseconds since 1970, the second exclusive and later; `kept_in` holds what was
    read of sealed segments before. Raises OSError, VaultError."""
    length = until_ns - since_ns
    edges = [since_ns + -(-number * length // num_spans) for number in range(num_spans + 1)]
    counts: list[dict[str, int]] = [{} for _ in range(num_spans)]
    events = list(_checkpoints(directory, since_ns, until_ns))
    for sketch in sketches(directory, kept_in):
        for kind in sketch.times:
            for span, number in zip(counts, sketch.count(kind, edges), strict=True):
                if number:
                    span[kind] = span.get(kind, 0) + number
            if kind not in ROUTINE:
                events += _standouts(sketch, kind, since_ns, until_ns)
    last = nlargest(MAX_EVENTS, events, key=lambda one: (one.time_ns, one.seq))
    return Timeline(since_ns, until_ns, counts, last[::-1])


def _standouts(sketch: Sketch, kind: str, since_ns: int, until_ns: int) -> Iterator[Standout]:
    times, seqs = sketch.times[kind], sketch.seqs[kind]
    end = bisect_left(times, until_ns)
    begin = max(bisect_left(times, since_ns), end - MAX_EVENTS)
    return (Standout(kind, seqs[place], times[place]) for place in range(begin, end))


def _checkpoints(directory: Path, since_ns: int, until_ns: int) -> Iterator[Standout]:
    for one in checkpoints(directory):
        seq, time_ns = one.get("seq"), one.get("time_ns")
        if isinstance(seq, int) and isinstance(time_ns, int) and since_ns <= time_ns < until_ns:
            yield Standout("checkpoint", seq, time_ns)
