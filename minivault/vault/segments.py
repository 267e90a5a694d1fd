"""The files a log consists of: their names, their order, and how to read them whole or from the end.

Sealed segments carry the seq of their first record in their name and never change it; the active one is `log.jsonl`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from minivault.errors import VaultError
from minivault.vault.record import is_sound, parse

ACTIVE = "log.jsonl"
_SEALED = re.compile(r"log-(\d{12,})\.jsonl(\.gz)?")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the log. `first_seq` is None for the active segment."""

    path: Path
    first_seq: int | None

    @property
    def is_active(self) -> bool:
        return self.first_seq is None

    @property
    def is_compressed(self) -> bool:
        return self.path.suffix == ".gz"

    @property
    def name(self) -> str:
        """The name as recorded: that of the uncompressed file."""
        return self.path.name.removesuffix(".gz")

    def _here(self) -> Segment:
        """This segment in the form in which it is there now: it may have been compressed since it was listed."""
        if self.is_active or self.is_compressed or self.path.exists():
            return self
        return Segment(self.path.with_name(self.path.name + ".gz"), self.first_seq)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The segment's bytes, decompressed."""
        form, fd = self.open_raw()
        with os.fdopen(fd, "rb") as raw:
            if not form.is_compressed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as plain, io.BufferedReader(plain, _BLOCK) as buffered:
                yield buffered

    def open_raw(self) -> tuple[Segment, int]:
        """A descriptor of the file as it is, and the form that it is in. Raises FileNotFoundError, OSError."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return self, os.open(self.path, flags)
        except FileNotFoundError:
            form = self._here()
            return form, os.open(form.path, flags)

    def lines(self) -> Iterator[bytes]:
        """Every line with its newline; the last may lack it."""
        with self.open() as file:
            yield from file


def sealed_name(first_seq: int) -> str:
    return f"log-{first_seq:012d}.jsonl"


def sealed_segments(directory: Path) -> list[Segment]:
    """The sealed segments in order. Where both forms of one are there, the uncompressed one counts."""
    found: dict[int, Segment] = {}
    for path in sorted(directory.iterdir(), reverse=True):
        match = _SEALED.fullmatch(path.name)
        if match:
            found[int(match[1])] = Segment(path, int(match[1]))
    return [found[seq] for seq in sorted(found)]


def segments(directory: Path) -> list[Segment]:
    """All segments in the order of their records."""
    active = directory / ACTIVE
    return sealed_segments(directory) + ([Segment(active, None)] if active.exists() else [])


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of a log file: its last record, and the bytes after it that are no record."""

    last: dict[str, Any] | None
    torn: bytes
    is_unterminated: bool


def read_tail(fd: int, size: int) -> Tail:
    """Find the last record of an uncompressed segment, reading no more of its end than that takes.

    A crash leaves a prefix of a line, never a whole JSON object that does not verify: the latter raises VaultError.
    """
    block = _BLOCK // 16
    while True:
        start = max(0, size - block)
        data = _read(fd, start, size)
        tail = _last_in(data, start == 0)
        if tail is not None:
            return tail
        block *= 4


def _read(fd: int, start: int, end: int) -> bytes:
    parts = []
    while start < end:
        part = os.pread(fd, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _last_in(data: bytes, is_whole: bool) -> Tail | None:
    """The tail within `data`, or None where it starts further back."""
    end = len(data)
    while end > 0:
        start = data.rfind(b"\n", 0, end - 1) + 1
        if start == 0 and not is_whole:
            return None
        fields = parse(data[start:end])
        if fields is not None:
            return _sound_tail(fields, data, end)
        end = start
    return Tail(None, data, bool(data) and not data.endswith(b"\n")) if is_whole else None


def _sound_tail(fields: dict[str, Any], data: bytes, end: int) -> Tail:
    if not is_sound(fields):
        raise VaultError(
            f"the last record of {ACTIVE} (it calls itself seq {fields.get('seq')}) has been changed; "
            "nothing is appended to a damaged log: run `flask minivault vault verify`"
        )
    return Tail(fields, data[end:], not data.endswith(b"\n"))


@dataclass(frozen=True, slots=True)
class Summary:
    """What the record opening the next segment says of the one before."""

    name: str
    lines: int
    sha256: str


def summarize(segment: Segment) -> Summary:
    """Read a closed segment through: its lines and the SHA-256 of its (uncompressed) bytes."""
    sha, lines = hashlib.sha256(), 0
    with segment.open() as file:
        while block := file.read(_BLOCK):
            sha.update(block)
            lines += block.count(b"\n")
    return Summary(segment.name, lines, "sha256:" + sha.hexdigest())


def first_record(segment: Segment) -> dict[str, Any] | None:
    """The first parseable record of a segment."""
    return next((fields for line in segment.lines() if (fields := parse(line)) is not None), None)


def last_record(segment: Segment) -> dict[str, Any] | None:
    """The last parseable record of a segment; reads a compressed one through."""
    form, fd = segment.open_raw()
    try:
        if not form.is_compressed:
            return read_tail(fd, os.fstat(fd).st_size).last
    finally:
        os.close(fd)
    last = b""
    for line in form.lines():
        last = line
    return parse(last)
