"""The head of the chain: its last record, and the state of the file that the next one will be written to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from minivault.errors import VaultError
from minivault.vault.record import NO_HASH
from minivault.vault.segments import ACTIVE, Segment, Tail, first_record, last_record, read_tail, sealed_segments


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
    if int(tail.last["seq"]) < known.seq:
        raise VaultError(f"{ACTIVE} ends at seq {tail.last['seq']} and had reached {known.seq}: it was cut")
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
        raise VaultError(f"{sealed[-1].path.name} does not end in a record; run `flask minivault vault verify`")
    seq, hash_ = (int(last["seq"]), str(last["hash"])) if last else (0, NO_HASH)
    if known.seq > seq:  # the file was taken away while we ran: go on, so that verify shows the gap
        seq, hash_ = known.seq, known.hash
    return Head(seq=seq, hash=hash_, size=size, torn=tail.torn, is_unterminated=tail.is_unterminated)
