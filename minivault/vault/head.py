"""Where the chain ends: the last record of a segment, the bytes after it that are no record, and the head they make.

A head never goes back: a log that ends before what is known of it, or was signed, is not the one that it was, and
nothing is appended to it. So no seq is ever given twice.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.vault.disk import open_plain
from minivault.vault.place import at_seq
from minivault.vault.record import NO_HASH, is_content_sound, is_sound, parse
from minivault.vault.segments import ACTIVE, Segment, first_record, sealed_segments

_BLOCK = 1 << 16
CHECKPOINTS = "checkpoints.jsonl"


@dataclass(frozen=True, slots=True)
class Head:
    """The last record of the chain, and the state of the file it ends."""

    seq: int = 0
    hash: str = NO_HASH
    size: int = 0
    first_seq: int = 0
    """Of the active segment; 0 while it holds no record."""
    born_ns: int = 0
    torn: bytes = b""
    is_unterminated: bool = False


def read_head(directory: Path, fd: int, size: int, known: Head) -> Head:
    """The head as the active segment, open at `fd`, shows it. Raises VaultError where that is behind `known`."""
    tail = read_tail(fd, size)
    if tail.last is None:
        return _head_before(directory, tail, size, known)
    _ensure_not_behind(directory, int(tail.last["seq"]), str(tail.last["hash"]), known)
    first = first_record(Segment(directory / ACTIVE, None)) or tail.last
    return Head(
        seq=int(tail.last["seq"]),
        hash=str(tail.last["hash"]),
        size=size,
        first_seq=int(first["seq"]),
        born_ns=int(first["time_ns"]),
        torn=tail.torn,
        is_unterminated=tail.is_unterminated,
    )


def _head_before(directory: Path, tail: Tail, size: int, known: Head) -> Head:
    """The head while the active segment holds no record yet: the end of the sealed one before it."""
    sealed = sealed_segments(directory)
    last = last_record(sealed[-1]) if sealed else None
    if sealed and last is None:
        raise VaultError(f"{sealed[-1].path.name} does not end in a record; run `minivault vault verify`")
    seq, hash_ = (int(last["seq"]), str(last["hash"])) if last else (0, NO_HASH)
    _ensure_not_behind(directory, seq, hash_, known)
    return Head(seq=seq, hash=hash_, size=size, torn=tail.torn, is_unterminated=tail.is_unterminated)


def ensure_continued(directory: Path, known: Head) -> None:
    """Raise VaultError unless a log that grew while nobody looked still holds what was its head then."""
    record = at_seq(directory, known.seq) if known.seq else None
    if known.seq and (record is None or record["hash"] != known.hash):
        raise VaultError(f"the log in {directory} holds another record at seq {known.seq} than it had")


def _ensure_not_behind(directory: Path, seq: int, hash_: str, known: Head) -> None:
    if seq < known.seq:
        raise VaultError(f"{ACTIVE} ends at seq {seq} and had reached {known.seq}: it was cut")
    if seq == known.seq and known.seq and hash_ != known.hash:
        raise VaultError(f"{ACTIVE} ends in another record at seq {seq} than it had")
    signed = 0 if known.seq else (last_checkpoint(directory) or {}).get("seq", 0)
    if isinstance(signed, int) and signed > seq:
        raise VaultError(
            f"the log in {directory} ends at seq {seq} and seq {signed} of it was signed: records are missing. "
            "Bring them back, or move the vault away; run `vault verify`"
        )


def last_checkpoint(directory: Path) -> dict[str, Any] | None:
    """The newest checkpoint kept in the vault."""
    try:
        fd = open_plain(directory / CHECKPOINTS)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        file.seek(max(0, os.fstat(fd).st_size - 8192))
        lines = file.read().splitlines()
    return next((fields for line in reversed(lines) if (fields := parse(line)) is not None), None)


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
    block = _BLOCK
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
    if not (is_sound(fields) and is_content_sound(fields)):
        raise VaultError(
            f"the last record of {ACTIVE} (it calls itself seq {fields.get('seq')}) has been changed; "
            "nothing is appended to a damaged log: run `minivault vault verify`"
        )
    return Tail(fields, data[end:], not data.endswith(b"\n"))


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
