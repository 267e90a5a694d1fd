"""The files a log consists of: their names, their order, and how to read them.

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

from minivault.vault.record import parse

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
