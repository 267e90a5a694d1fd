"""The files a log consists of: their names, their order, and how to read them.

Sealed segments carry the seq of their first record in their name and never change it; the active one is `log.jsonl`.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from minivault.errors import VaultError
from minivault.vault.disk import open_plain
from minivault.vault.record import parse

ACTIVE = "log.jsonl"
_SEALED = re.compile(r"log-(\d{12,})\.jsonl(\.gz)?")
_END = 512
"""Bytes: no two records end alike, since each holds its own id and hash."""
_BLOCK = 1 << 20
MAX_LINE = 512 << 20


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
        try:
            return self, open_plain(self.path)
        except FileNotFoundError:
            form = self._here()
            return form, open_plain(form.path)

    def lines(self) -> Iterator[bytes]:
        """Every line with its newline; the last may lack it. Raises VaultError for one that no record can be."""
        try:
            with self.open() as file:
                while line := file.readline(MAX_LINE):
                    if len(line) == MAX_LINE:
                        raise VaultError(f"{self.path.name} holds a line of more than {MAX_LINE >> 20} MiB")
                    yield line
        except (gzip.BadGzipFile, zlib.error, EOFError) as error:
            raise VaultError(f"{self.path.name} is damaged ({error}): run `vault verify`") from None


def sealed_name(first_seq: int) -> str:
    return f"log-{first_seq:012d}.jsonl"


def sealed_segments(directory: Path) -> list[Segment]:
    """The sealed segments in order. Where both forms of one are there, the uncompressed one counts."""
    found: dict[int, Segment] = {}
    for path in sorted(directory.iterdir(), reverse=True):
        match = _SEALED.fullmatch(path.name)
        if match and path.name.startswith(sealed_name(int(match[1]))):
            found[int(match[1])] = Segment(path, int(match[1]))
    return [found[seq] for seq in sorted(found)]


def segments(directory: Path) -> list[Segment]:
    """All segments in the order of their records."""
    active = directory / ACTIVE
    return sealed_segments(directory) + ([Segment(active, None)] if active.exists() else [])


def end_of(file: int, size: int) -> int:
    """Which file this is and what ends its first `size` bytes, as a number: one that only grows is known again by it.
    The inode alone would not do, since it is given to the next file as soon as it is free."""
    there = os.pread(file, min(size, _END), max(0, size - _END))
    which = os.fstat(file).st_ino.to_bytes(8, "big")
    return int.from_bytes(hashlib.sha256(which + there).digest()[:7], "big")


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


def vault_id(directory: Path) -> str:
    """The id that the genesis record gave, and every `segment` record repeats; empty where there is no vault."""
    for line in (line for segment in segments(directory)[:1] for line in segment.lines()):
        fields = parse(line)
        if fields is not None and fields.get("type") != "recovered":
            return str(fields.get("vault", ""))
    return ""


def first_record(segment: Segment) -> dict[str, Any] | None:
    """The first parseable record of a segment."""
    return next((fields for line in segment.lines() if (fields := parse(line)) is not None), None)
