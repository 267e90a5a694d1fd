"""Write-ahead entries: what was asked, durable before any of the answer leaves, so that no kill can lose it.

Each process writes its own files and holds a flock on each while it lives; a free lock means that the owner is dead and
its open entries are owed to the log. A file is emptied when nothing in it is open; under steady load a full file is
retired and a new one begun, so that none grows without bound.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minivault.vault.directory import is_same_file
from minivault.vault.disk import DIRECTORY_MODE, Disk
from minivault.vault.record import compact, parse

DIRECTORY = "journal"
_FULL_BYTES = 4 << 20
_REQUIRED = frozenset(("id", "time_ns", "boot", "prompt", "prompt_tokens", "parameters", "api", "model", "fingerprint"))


@dataclass(slots=True)
class _File:
    path: Path
    fd: int
    size: int = 0
    open: set[str] = field(default_factory=set)


class Journal:
    """The journal files of this process. `write` and `sync` belong to the writer thread; `mark` to anyone."""

    def __init__(
        self,
        directory: Path,
        boot: str,
        disk: Disk,
        *,
        full_bytes: int = _FULL_BYTES,
        ensure_same: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory / DIRECTORY
        self._boot = boot
        self._disk = disk
        self._full_bytes = full_bytes
        self._ensure_same = ensure_same
        self._lock = threading.Lock()
        self._home: dict[str, _File] = {}
        self._current: _File | None = None

    def write(self, entries: Sequence[tuple[str, bytes]], after: int) -> None:
        """Add open entries (id, opening as JSON) in one write; the log had reached the seq `after`.

        Raises OSError and then has added none.
        """
        data = b"".join([b'{"open":%b,"after":%d}}\n' % (opening[:-1], after) for _, opening in entries])
        with self._lock:
            file = self._usable()
            self._append(file, data)
            for id_, _ in entries:
                file.open.add(id_)
                self._home[id_] = file

    def sync(self) -> None:
        if self._current is not None:
            self._disk.fdatasync(self._current.fd)

    def mark(self, id_: str, num_tokens: int, num_bytes: int, text: str = "", thought: str = "") -> None:
        """Note how much of an answer has been sent, and the next piece of one that cannot be computed again: one small
        write, not synced. Never raises."""
        line = b'{"sent":"%s","tokens":%d,"bytes":%d}\n' % (id_.encode(), num_tokens, num_bytes)
        if text or thought:
            line = b'%b,"text":%b,"thought":%b}\n' % (line[:-2], compact(text), compact(thought))
        try:
            with self._lock:
                if id_ in self._home:
                    self._append(self._home[id_], line)
        except OSError:
            return

    def done(self, ids: Sequence[str]) -> None:
        """Close entries whose record is in the log. Never raises: recovery looks there first."""
        with self._lock:
            for id_ in ids:
                file = self._home.pop(id_, None)
                if file is not None:
                    file.open.discard(id_)
                    self._settle(file, id_)

    @property
    def num_open(self) -> int:
        """How many entries have no record in the log yet."""
        return len(self._home)

    def probe(self) -> None:
        """Check after a fault that an entry could be made durable. Raises OSError."""
        with self._lock:
            file = self._usable()
            self._append(file, b"\n")
            self._disk.fdatasync(file.fd)

    def close(self) -> None:
        """Let go of every file; those with nothing open are removed, the others are recovered by the next opener."""
        with self._lock:
            files = {id(file): file for file in self._home.values()}
            if self._current is not None:
                files[id(self._current)] = self._current
            for file in files.values():
                self._drop(file)
            self._home.clear()
            self._current = None

    def _append(self, file: _File, data: bytes) -> None:
        """Write whole lines or nothing; a file that keeps half a line is not written to again."""
        left = data
        try:
            while left:  # not `write_all`: this runs for every token that is sent
                left = left[self._disk.write(file.fd, left) :]
        except OSError:
            try:
                self._disk.ftruncate(file.fd, file.size)
            except OSError:
                file.size = self._full_bytes
            raise
        file.size += len(data)

    def _settle(self, file: _File, id_: str) -> None:
        with suppress(OSError):
            if file.open:
                self._append(file, b'{"done":"%s"}\n' % id_.encode())
            elif file is self._current:
                self._disk.ftruncate(file.fd, 0)
                file.size = 0
            else:
                self._drop(file)

    def _drop(self, file: _File) -> None:
        with suppress(OSError):
            if not file.open and is_same_file(file.path, file.fd):
                self._disk.unlink(file.path)
        self._disk.close(file.fd)

    def _usable(self) -> _File:
        """The file to write to; a new one where there is none, it is full, or somebody took it away."""
        file = self._current
        if file is not None and not is_same_file(file.path, file.fd):
            raise FileNotFoundError(f"{file.path} was removed or replaced")
        if file is None or file.size >= self._full_bytes:
            file = self._create()
            previous, self._current = self._current, file
            if previous is not None and not previous.open:
                self._drop(previous)
        return file

    def forget(self) -> None:
        """After a fault, write to a new file; entries in the old ones stay open there."""
        with self._lock:
            previous, self._current = self._current, None
            if previous is not None and not previous.open:
                self._drop(previous)

    def _create(self) -> _File:
        self._ensure_same()
        if not self._directory.exists():
            self._directory.mkdir(mode=DIRECTORY_MODE)
            self._disk.fsync_directory(self._directory.parent)
        return next(file for path in self._names() if (file := self._claim(path)) is not None)

    def _claim(self, path: Path) -> _File | None:
        """Create and lock a file; None where the name is taken, also by a recovery that was quicker to lock it."""
        try:
            fd = self._disk.open(path, exclusive=True)
        except FileExistsError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_same_file(path, fd):
                self._disk.fsync_directory(self._directory)
                return _File(path, fd)
        except BlockingIOError:
            pass
        self._disk.close(fd)
        return None

    def _names(self) -> Iterator[Path]:
        """`<boot>.jsonl`, then `<boot>.2.jsonl` …: another container may have the same boot and process id."""
        yield self._directory / f"{self._boot}.jsonl"
        number = 2
        while True:
            yield self._directory / f"{self._boot}.{number}.jsonl"
            number += 1


@dataclass(frozen=True, slots=True)
class OpenEntry:
    """An entry a dead process left: its opening, and how much of the answer had been sent."""

    opening: dict[str, Any]
    num_tokens: int = 0
    num_bytes: int = 0
    text: list[str] = field(default_factory=list)
    """Its pieces, where it cannot be computed again."""
    thought: list[str] = field(default_factory=list)


def read_open(path: Path) -> list[OpenEntry]:
    """The open entries of one journal file, in order. A torn line ends an entry that was never acknowledged."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    entries: dict[str, OpenEntry] = {}
    with os.fdopen(fd, "rb") as file:
        for line in file:
            _apply(entries, parse(line) or {})
    return list(entries.values())


def _apply(entries: dict[str, OpenEntry], fields: dict[str, Any]) -> None:
    opening, sent, done = fields.get("open"), fields.get("sent"), fields.get("done")
    if isinstance(opening, dict) and opening.keys() >= _REQUIRED:
        entries[str(opening["id"])] = OpenEntry(opening)
    elif isinstance(sent, str) and sent in entries:
        tokens, size = fields.get("tokens"), fields.get("bytes")
        if isinstance(tokens, int) and isinstance(size, int):
            entry = replace(entries[sent], num_tokens=tokens, num_bytes=size)
            entry.text.append(str(fields.get("text", "")))
            entry.thought.append(str(fields.get("thought", "")))
            entries[sent] = entry
    elif isinstance(done, str):
        entries.pop(done, None)
