"""Where each record stands, so that one is found in a log of millions at once. Rebuilt from the log at will.

Sealed segments are indexed whole, the active one as far as it has grown.

The index is a hint and never evidence. It holds offsets within segments; which files those are is for the directory to
say. What stands there is shown only if it is the record asked for, in its place; otherwise, and for what the index does
not know, the log itself is read.
"""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from minivault.errors import VaultError
from minivault.vault.disk import FILE_MODE, open_plain
from minivault.vault.place import Record, at_seq, checked, ensure_follows, in_place, lawful
from minivault.vault.record import parse
from minivault.vault.segments import ACTIVE, MAX_LINE, Segment, end_of, sealed_segments, segments

INDEX = "index.sqlite3"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS segment (name TEXT PRIMARY KEY, file INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS record (
    id TEXT NOT NULL, seq INTEGER NOT NULL, segment TEXT NOT NULL, member INTEGER NOT NULL, offset INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS record_id ON record (id);
CREATE INDEX IF NOT EXISTS record_seq ON record (seq);
CREATE INDEX IF NOT EXISTS record_segment ON record (segment);
"""
_VERSION = 2
_ANEW = f"DROP TABLE IF EXISTS segment; DROP TABLE IF EXISTS record; PRAGMA user_version = {_VERSION};"
_BLOCK = 1 << 18
Spot = tuple[int, int]
"""Offset of a gzip member in the file (0 in an uncompressed one), and of the line within what it holds."""


def find(directory: Path, id_: str) -> Record | None:
    """The record with this id, checked in its place and its mark of redaction; None where there is none.

    Raises VaultError, OSError.
    """
    record = _find(directory, id_)
    return record if record is None else lawful(directory, record)


def look_up(directory: Path, id_: str) -> Record | None:
    """The same for whoever must not have the whole log read by naming an id: what a sound index does not know is not
    looked for, nor what a mark of redaction refers to."""
    try:
        with Index(directory) as index:
            index.update()
            return index.find(id_)
    except (sqlite3.Error, VaultError, OSError, zlib.error):
        return find(directory, id_)


def records_at(directory: Path, seqs: Collection[int]) -> Iterator[Record]:
    """The records at some seqs, in that order, each checked in its place; those that are gone are left out.

    Raises VaultError, OSError.
    """
    found: dict[int, Record | None] = {}
    with suppress(sqlite3.Error, VaultError, OSError, zlib.error), Index(directory) as index:
        index.update()
        for seq in seqs:
            found[seq] = index.at_seq(seq)
    for seq in seqs:
        record = found.get(seq) or at_seq(directory, seq)
        if record is not None:
            yield lawful(directory, record)


def ids_like(directory: Path, part: str) -> list[str]:
    """Up to three ids that begin or end with `part`; none where the index is of no use."""
    with suppress(sqlite3.Error, VaultError, OSError, zlib.error), Index(directory) as index:
        index.update()
        return index.ids_like(part)
    return []


def _find(directory: Path, id_: str) -> Record | None:
    with suppress(sqlite3.Error, VaultError, OSError, zlib.error), Index(directory) as index:
        index.update()
        record = index.find(id_)
        if record is not None:
            return record
    mark = b'"id":"%s"' % id_.encode("ascii", "replace")
    found = in_place(directory, lambda line: mark in line)
    return next((record for record in found if record.get("id") == id_), None)


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
        """Index every sealed segment that is new or was rewritten, and what the active one has grown by; returns how
        many sealed ones that were."""
        self._follow()
        known = {name: (file, size) for name, file, size in self._database.execute("SELECT * FROM segment")}
        known.pop(ACTIVE, None)
        here = {segment.path.name: segment for segment in sealed_segments(self._directory)}
        for name in known.keys() - here.keys():
            self._forget(name)
        stale = [segment for name, segment in here.items() if known.get(name) != _identity(segment.path)]
        return sum(map(self._add, stale))

    def find(self, id_: str) -> Record | None:
        """The record with this id, if it and its neighbours stand where the index says. Raises VaultError if not."""
        query = "SELECT seq FROM record WHERE id = ?"
        found = (self.at_seq(seq) for (seq,) in self._database.execute(query, (id_,)).fetchall())
        return next((record for record in found if record is not None and record.get("id") == id_), None)

    def at_seq(self, seq: int) -> Record | None:
        """The record at a seq, in the same way."""
        (before, _), (line, following), (after, _) = (self._lines(seq + step) for step in (-1, 0, 1))
        after = after or following
        if not line or after is None or not (before or seq == 1):
            return None
        record = checked(before or b"", line)
        if after:
            ensure_follows(record, parse(after))
        return record if record["seq"] == seq else None

    def ids_like(self, part: str) -> list[str]:
        """Up to three ids of indexed records that begin or end with `part`, in the order of the log."""
        query = (
            "SELECT id FROM record WHERE (substr(id, 1, ?1) = ?2 OR substr(id, -?1) = ?2)"
            " AND id NOT LIKE 'withdrawal-%' ORDER BY seq LIMIT 3"
        )
        return [str(id_) for (id_,) in self._database.execute(query, (len(part), part))]

    def _lines(self, seq: int) -> tuple[bytes | None, bytes | None]:
        """The line that the index has at a seq, in a file that the log consists of; of the active one also the line
        after it, empty where none has been written."""
        here = {segment.path.name: segment for segment in segments(self._directory)}
        query = "SELECT segment, member, offset FROM record WHERE seq = ?"
        for name, member, offset in self._database.execute(query, (seq,)).fetchall():
            if name in here and isinstance(member, int) and isinstance(offset, int) and min(member, offset) >= 0:
                return _read_at(here[name], (member, offset))
        return None, None

    def _follow(self) -> None:
        """Take in what the active segment has grown by, all of it where it is another file than before."""
        try:
            fd = open_plain(self._directory / ACTIVE)
        except FileNotFoundError:  # between two segments
            return
        with os.fdopen(fd, "rb") as file:
            here = os.fstat(fd)
            if self._num_known(fd) == here.st_size:
                return
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")  # another process may be at it
                at = self._num_known(fd)
                if not at:
                    self._delete(ACTIVE)
                file.seek(at)
                while (line := file.readline(MAX_LINE)).endswith(b"\n"):
                    self._insert(ACTIVE, [((0, at), line)])
                    at += len(line)
                self._database.execute("INSERT OR REPLACE INTO segment VALUES (?, ?, ?)", (ACTIVE, end_of(fd, at), at))

    def _num_known(self, active: int) -> int:
        """How many bytes of the active segment are indexed: none where it is another file, or was cut."""
        query = "SELECT file, size FROM segment WHERE name = ?"
        for end, size in self._database.execute(query, (ACTIVE,)).fetchall():
            if isinstance(size, int) and size >= 0 and end_of(active, size) == end:
                return size
        return 0

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
                self._insert(segment.path.name, _placed_lines(segment))
                self._database.execute("INSERT INTO segment VALUES (?, ?, ?)", (segment.path.name, *identity))
        except FileNotFoundError:
            return False
        return True

    def _insert(self, name: str, lines: Iterable[tuple[Spot, bytes]]) -> None:
        rows = (
            (fields["id"], fields["seq"], name, *spot)
            for spot, line in lines
            if (fields := parse(line)) is not None and _is_placed(fields)
        )
        self._database.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10)
    [version] = database.execute("PRAGMA user_version").fetchone()
    database.executescript(_SCHEMA if version == _VERSION else "BEGIN IMMEDIATE;" + _ANEW + _SCHEMA + "COMMIT;")
    return database


def _identity(path: Path) -> tuple[int, int]:
    """What changes when a sealed segment is replaced; (0, 0) where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ctime_ns, status.st_size


def _is_placed(fields: dict[str, Any]) -> bool:
    seq = fields.get("seq")
    return isinstance(fields.get("id"), str) and isinstance(seq, int) and 0 < seq < 1 << 62


def _placed_lines(segment: Segment) -> Iterator[tuple[Spot, bytes]]:
    form, fd = segment.open_raw()
    if form.path != segment.path:  # compressed meanwhile
        os.close(fd)
        raise FileNotFoundError(segment.path)
    with os.fdopen(fd, "rb") as file:
        at = 0
        while block := _block(file, at, is_compressed=segment.is_compressed):
            data, following = block
            offset = 0
            for line in data.splitlines(keepends=True):
                yield ((at, offset) if segment.is_compressed else (0, at)), line
                offset += len(line)
            at = following


def _block(file: IO[bytes], at: int, *, is_compressed: bool) -> tuple[bytes, int] | None:
    """A gzip member, or a line of an uncompressed file, and the offset of the next; None at the end."""
    file.seek(at)
    if not is_compressed:
        line = file.readline(MAX_LINE)
        return (line, at + len(line)) if line else None
    decompressor = zlib.decompressobj(wbits=31)
    parts, consumed, size = [], 0, 0
    while not decompressor.eof and (data := file.read(_BLOCK)):
        parts.append(decompressor.decompress(data, MAX_LINE - size))
        consumed += len(data)
        size += len(parts[-1])
        if decompressor.unconsumed_tail:
            raise VaultError(f"a member of a segment holds more than {MAX_LINE >> 20} MiB")
    return (b"".join(parts), at + consumed - len(decompressor.unused_data)) if consumed else None


def _read_at(segment: Segment, spot: Spot) -> tuple[bytes | None, bytes | None]:
    """The line there, and in the active segment the one after it."""
    member, offset = spot
    form, fd = segment.open_raw()
    with os.fdopen(fd, "rb") as file:
        if form.path != segment.path:
            return None, None
        if not segment.is_compressed:
            file.seek(offset)
            line, following = file.readline(MAX_LINE), file.readline(MAX_LINE) if segment.is_active else None
            return line, b"" if following and not following.endswith(b"\n") else following
        block = _block(file, member, is_compressed=True)
    return block[0][offset:].split(b"\n", 1)[0] if block else None, None
