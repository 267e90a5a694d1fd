"""Where each record stands, so that one is found in a log of millions at once. Rebuilt from the log at will.

The index is a convenience and never evidence: what it points to is read from the log and checked before it is shown,
and what it does not know is looked for in the log itself.
"""

from __future__ import annotations

import mmap
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from minivault.vault.disk import FILE_MODE
from minivault.vault.record import is_sound, parse
from minivault.vault.segments import Segment, sealed_segments, segments

INDEX = "index.sqlite3"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS segment (name TEXT PRIMARY KEY, inode INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS record (
    id TEXT NOT NULL, seq INTEGER NOT NULL, segment TEXT NOT NULL, member INTEGER NOT NULL, offset INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS record_id ON record (id);
CREATE INDEX IF NOT EXISTS record_segment ON record (segment);
"""
_BLOCK = 1 << 18
Spot = tuple[int, int]
"""Offset of a gzip member in the file (0 in an uncompressed one), and of the line within what it holds."""


class Index:
    """The index of one vault. Open it where it is used; any number of processes may."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        path = directory / INDEX
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE))
        try:
            self._database = _connect(path)
        except sqlite3.DatabaseError:  # not ours, or damaged: it can always be made again
            path.unlink()
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))
            self._database = _connect(path)

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def update(self) -> int:
        """Index every sealed segment that is new or was rewritten; returns how many that were."""
        known = {name: (inode, size) for name, inode, size in self._database.execute("SELECT * FROM segment")}
        here = {segment.path.name: segment for segment in sealed_segments(self._directory)}
        for name in known.keys() - here.keys():
            self._forget(name)
        stale = [segment for name, segment in here.items() if known.get(name) != _identity(segment.path)]
        return sum(map(self._add, stale))

    def find(self, id_: str) -> dict[str, Any] | None:
        """The record with this id, read from the log and checked; None where the log has none."""
        query = "SELECT segment, member, offset FROM record WHERE id = ?"
        for name, member, offset in self._database.execute(query, (id_,)).fetchall():
            fields = _checked(_read_at(self._directory / name, (member, offset)), id_)
            if fields is not None:
                return fields
        known = {name: (inode, size) for name, inode, size in self._database.execute("SELECT * FROM segment")}
        unknown = [s for s in segments(self._directory) if s.is_active or known.get(s.path.name) != _identity(s.path)]
        return next((fields for s in reversed(unknown) if (fields := search_segment(s, id_)) is not None), None)

    def _forget(self, name: str) -> None:
        with self._database:
            self._delete(name)

    def _delete(self, name: str) -> None:
        self._database.execute("DELETE FROM record WHERE segment = ?", (name,))
        self._database.execute("DELETE FROM segment WHERE name = ?", (name,))

    def _add(self, segment: Segment) -> bool:
        """Take in one segment; False where it was compressed or pruned meanwhile."""
        identity = _identity(segment.path)
        try:
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")  # another process may be at the same segment
                self._delete(segment.path.name)
                rows = (
                    (fields["id"], fields["seq"], segment.path.name, *spot)
                    for spot, line in _placed_lines(segment)
                    if (fields := parse(line)) is not None and isinstance(fields.get("id"), str) and "seq" in fields
                )
                self._database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
                self._database.execute("INSERT INTO segment VALUES (?, ?, ?)", (segment.path.name, *identity))
        except FileNotFoundError:
            return False
        return True


def search_segment(segment: Segment, id_: str) -> dict[str, Any] | None:
    """Look for a record in one segment by its bytes: fast where it is uncompressed."""
    needle = b'"id":"%s"' % id_.encode("ascii", "replace")
    try:
        if segment.is_compressed:
            lines: Iterator[bytes] = (line for line in segment.lines() if needle in line)
            return next((fields for line in lines if (fields := _checked(line, id_)) is not None), None)
        return _search_mapped(segment.path, needle, id_)
    except FileNotFoundError:  # sealed or compressed meanwhile
        return None


def _search_mapped(path: Path, needle: bytes, id_: str) -> dict[str, Any] | None:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return None
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            at = data.rfind(needle)
            while at >= 0:
                start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
                fields = _checked(data[start:end] if end >= 0 else data[start:], id_)
                if fields is not None:
                    return fields
                at = data.rfind(needle, 0, at)
    return None


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10)
    database.executescript(_SCHEMA)
    return database


def _identity(path: Path) -> tuple[int, int]:
    """What changes when a file is replaced; (0, 0) where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_size


def _checked(line: bytes | None, id_: str) -> dict[str, Any] | None:
    fields = parse(line) if line else None
    return fields if fields is not None and fields.get("id") == id_ and is_sound(fields) else None


def _placed_lines(segment: Segment) -> Iterator[tuple[Spot, bytes]]:
    with segment.path.open("rb") as file:
        if not segment.is_compressed:
            offset = 0
            for line in file:
                yield (0, offset), line
                offset += len(line)
            return
        at = 0
        while block := _member(file, at):
            data, following = block
            offset = 0
            for line in data.splitlines(keepends=True):
                yield (at, offset), line
                offset += len(line)
            at = following


def _member(file: Any, at: int) -> tuple[bytes, int] | None:
    """One gzip member and the offset of the next; None at the end."""
    file.seek(at)
    decompressor = zlib.decompressobj(wbits=31)
    parts = []
    consumed = 0
    while not decompressor.eof and (data := file.read(_BLOCK)):
        parts.append(decompressor.decompress(data))
        consumed += len(data)
    return (b"".join(parts), at + consumed - len(decompressor.unused_data)) if consumed else None


def _read_at(path: Path, spot: Spot) -> bytes | None:
    member, offset = spot
    try:
        with path.open("rb") as file:
            if path.suffix != ".gz":
                file.seek(offset)
                return file.readline()
            block = _member(file, member)
    except (OSError, zlib.error):
        return None
    return block[0][offset:].split(b"\n", 1)[0] if block else None
