"""When the records of a log came, by kind: read once from each file, so that a picture of millions is there at once.

A sealed segment's kinds and times never change, whatever is redacted or compressed: they are read once, and kept in a
SQLite file that may be deleted at any time. The active segment is read on from where it was read before. Nothing of
what records hold is kept, and none of it is evidence.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from minivault.errors import VaultError
from minivault.moment import read_moment
from minivault.vault.segments import MAX_LINE, Segment, end_of, segments, vault_id

KEPT = "timeline.sqlite3"
_HEAD = re.compile(rb'\{"type":"([a-z_]{1,32})","v":\d+,"seq":(\d{1,18}),"timestamp":"([0-9TZ:.-]{20,35})"')
_SCHEMA = """
CREATE TABLE IF NOT EXISTS sketch (
    vault TEXT, segment TEXT, kind TEXT, times BLOB NOT NULL, seqs BLOB NOT NULL, PRIMARY KEY (vault, segment, kind)
);
"""
_IN_MEMORY = 64
"""Segments of which a process keeps the sketch at hand: some 25 MB."""


@dataclass(slots=True)
class Sketch:
    """Kind → times in nanoseconds since 1970, and the seqs beside them, both in the order of time."""

    times: dict[str, array[int]] = field(default_factory=dict)
    seqs: dict[str, array[int]] = field(default_factory=dict)

    def add(self, line: bytes) -> None:
        """Note what a line's head says; one that is no record of ours says nothing."""
        if (head := _HEAD.match(line)) is None:
            return
        with suppress(ValueError, OverflowError):
            time_ns = read_moment(head[3].decode("ascii"))
            kind = head[1].decode("ascii")
            times, seqs = (of.setdefault(kind, array("q")) for of in (self.times, self.seqs))
            if not times or times[-1] <= time_ns:
                times.append(time_ns)
                seqs.append(int(head[2]))
            else:  # the clock was set back
                place = bisect_right(times, time_ns)
                times.insert(place, time_ns)
                seqs.insert(place, int(head[2]))

    def count(self, kind: str, edges: Iterable[int]) -> Iterator[int]:
        """How many of a kind lie between each two edges."""
        places = [bisect_left(self.times[kind], edge) for edge in edges]
        return (after - before for before, after in pairwise(places))


@dataclass(slots=True)
class _Growing:
    """The active segment as far as it has been read; `end` tells when another one has begun."""

    end: int = 0
    offset: int = 0
    sketch: Sketch = field(default_factory=Sketch)


_growing: dict[Path, _Growing] = {}
_lock = threading.Lock()


def sketches(directory: Path, kept_in: Path) -> Iterator[Sketch]:
    """That of each segment in order. Raises OSError, and VaultError for a segment that is damaged."""
    vault = vault_id(directory)
    for segment in segments(directory):
        with _lock:  # who looks meanwhile waits, and finds it read
            found = _grown(segment) if segment.is_active else _sealed(vault, segment, kept_in / KEPT)
        yield found


@lru_cache(_IN_MEMORY)
def _sealed(vault: str, segment: Segment, database: Path) -> Sketch:
    found = _load(database, vault, segment.name)
    if not found.times:
        for line in segment.lines():
            found.add(line)
        _keep(database, vault, segment.name, found)
    return found


def _grown(segment: Segment) -> Sketch:
    with segment.open() as file:
        known = _growing.setdefault(segment.path, _Growing())
        if end_of(file.fileno(), known.offset) != known.end:
            known = _growing[segment.path] = _Growing()
        file.seek(known.offset)
        while (line := file.readline(MAX_LINE)).endswith(b"\n"):
            known.sketch.add(line)
            known.offset += len(line)
        known.end = end_of(file.fileno(), known.offset)
        if len(line) == MAX_LINE:
            raise VaultError(f"{segment.path.name} holds a line of more than {MAX_LINE >> 20} MiB")
        return known.sketch


def _load(database: Path, vault: str, segment: str) -> Sketch:
    found = Sketch()
    with suppress(sqlite3.Error, ValueError), closing(sqlite3.connect(database)) as opened:
        rows = opened.execute("SELECT kind, times, seqs FROM sketch WHERE vault = ? AND segment = ?", (vault, segment))
        for kind, times, seqs in rows.fetchall():
            found.times[kind], found.seqs[kind] = array("q", times), array("q", seqs)
    return found


def _keep(database: Path, vault: str, segment: str, sketch: Sketch) -> None:
    """Whoever cannot keep it (no room, no right) reads the segment again next time."""
    rows = [(vault, segment, kind, sketch.times[kind].tobytes(), sketch.seqs[kind].tobytes()) for kind in sketch.times]
    with suppress(sqlite3.Error, OSError):
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        database.touch(0o600)
        with closing(sqlite3.connect(database)) as opened, opened:
            opened.executescript(_SCHEMA)
            opened.executemany("INSERT OR REPLACE INTO sketch VALUES (?, ?, ?, ?, ?)", rows)
