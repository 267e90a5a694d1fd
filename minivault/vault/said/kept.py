"""What is kept of one segment: a header and one 64-bit number for each indexed shingle, in order.

A number is a shingle's hash and, in its last 24 bits, how far the record is from the first of the segment. Header and
numbers are in the machine's own byte order: a file that does not read is made again.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minivault.vault.disk import open_plain
from minivault.vault.record import parse
from minivault.vault.said.words import shingles, words

FIELDS = ("response", "reasoning")
"""Where a record has what was said; calls stand in a response, with their arguments."""
PLACE_BITS = 24
_HEADER = struct.Struct("=16s7Q")
_MAGIC = b"minivault-said-2"
_INTERACTION = b'{"type":"interaction"'


@dataclass(frozen=True, slots=True)
class Header:
    """Of which file this is kept: what it ends with, how many bytes of it, the seq of its first record; and what it
    holds."""

    end: int = 0
    size: int = 0
    base: int = 0
    num_entries: int = 0
    num_answers: int = 0
    """Records in which something was said."""
    num_gone: int = 0
    """Records of which that, or a part, was redacted."""
    last_seq: int = 0

    def pack(self) -> bytes:
        return _HEADER.pack(_MAGIC, *(getattr(self, name) for name in self.__slots__))


def _unpacked(data: bytes) -> Header | None:
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        return None
    return Header(*_HEADER.unpack(data)[1:])


@contextmanager
def kept(path: Path) -> Iterator[tuple[Header, Sequence[int]] | None]:
    """The header and the numbers of a file, mapped; None where there is none that reads."""
    try:
        fd = open_plain(path)
    except FileNotFoundError:
        yield None
        return
    with os.fdopen(fd, "rb") as file:
        header = _unpacked(file.read(_HEADER.size))
        size = _HEADER.size + 8 * header.num_entries if header is not None else 0
        if header is None or os.fstat(fd).st_size != size:
            yield None
            return
        with (
            mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as data,
            memoryview(data) as whole,
            whole[_HEADER.size :] as part,
            part.cast("Q") as numbers,
        ):
            yield header, numbers


@dataclass(slots=True)
class Taking:
    """What lines of a segment add to what is kept of it."""

    header: Header
    numbers: list[int] = field(default_factory=list)
    num_bytes: int = 0

    def take(self, lines: Iterable[bytes]) -> None:
        """Take lines in; one that is not whole ends it."""
        for line in lines:
            if not line.endswith(b"\n"):
                return
            self.num_bytes += len(line)
            is_interaction = line.startswith(_INTERACTION)
            record = parse(line) if is_interaction or not self.header.base else None
            if record is None or not isinstance(record.get("seq"), int):
                continue
            if not self.header.base:
                self.header = replace(self.header, base=record["seq"])
            if is_interaction:
                self._take(record)

    def _take(self, record: dict[str, Any]) -> None:
        place = record["seq"] - self.header.base
        if not 0 <= place < 1 << PLACE_BITS:
            return
        hashes = {one for _, text in texts_of(record) for one in shingles(words(text))}
        self.numbers += [one << PLACE_BITS | place for one in hashes]
        self.header = replace(
            self.header,
            num_answers=self.header.num_answers + bool(hashes),
            num_gone=self.header.num_gone + ("redacted" in record or "reasoning_redacted" in record),
            last_seq=record["seq"],
        )

    def file(self, end: int, size: int, before: Sequence[int]) -> tuple[Header, bytes]:
        """The header, and the bytes of a file that holds all this and the numbers there were."""
        numbers = array("Q", sorted([*before, *self.numbers]))
        header = replace(self.header, end=end, size=size, num_entries=len(numbers))
        return header, header.pack() + numbers.tobytes()


def texts_of(record: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was said in a record, by field."""
    for name in FIELDS:
        text = record.get(name)
        if isinstance(text, str) and text:
            yield name, text
