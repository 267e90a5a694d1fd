"""Signed tree heads, and what others have said of them: one file that only grows.

Each line is about the tree of one size: the checkpoint that the vault signed, a witness's cosignature of it, or the
token of a timestamp authority. The last head says how far `tree.hashes` is to be believed; what is after it is read
from the log again before the next one is signed, so that no head rests on bytes that a crash may have left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from minivault.errors import VaultError
from minivault.vault.disk import open_plain
from minivault.vault.head import last_record
from minivault.vault.log import Log
from minivault.vault.place import read_lines
from minivault.vault.proof.key import SigningKey
from minivault.vault.proof.note import TreeHead, is_signature, origin_of, read_head, signer_of
from minivault.vault.proof.tree import TREE, Tree
from minivault.vault.record import compact, parse
from minivault.vault.segments import Segment, first_record, sealed_segments, segments
from minivault.vault.verify import unbase64

HEADS = "heads.jsonl"
FORMAT = 1
_TAIL = 1 << 20
_BLOCK = 1 << 16
_LINE = re.compile(rb'\{"type":"[^"]*","v":\d+,"seq":(\d{1,18}),.*"hash":"sha256:([0-9a-f]{64})"\}\n?', re.DOTALL)


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A checkpoint that the vault signed, and what has been added to it since."""

    head: TreeHead
    note: str
    cosignatures: list[str] = field(default_factory=list)
    """Signature lines of witnesses."""
    timestamps: list[str] = field(default_factory=list)
    """Responses of timestamp authorities, in base64."""

    @property
    def cosigned(self) -> str:
        """The checkpoint with all signatures, of each witness its last."""
        return self.note + "".join({signer_of(line): line for line in self.cosignatures}.values())


def signed_heads(directory: Path) -> list[SignedHead]:
    """Every tree head that was signed, oldest first."""
    try:
        fd = open_plain(directory / HEADS)
    except FileNotFoundError:
        return []
    with os.fdopen(fd, "rb") as file:
        return _heads(file)


def last_head(directory: Path) -> SignedHead | None:
    """The newest signed tree head; reads the end of the file only, where that holds one."""
    try:
        fd = open_plain(directory / HEADS)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        file.seek(max(0, os.fstat(fd).st_size - _TAIL))
        found = _heads(file)
    return found[-1] if found else next(reversed(signed_heads(directory)), None)


def _heads(lines: Iterable[bytes]) -> list[SignedHead]:
    """What is said of which head; a line that is damaged says nothing, and the verifier names it."""
    found: dict[tuple[str, int], SignedHead] = {}
    for line in lines:
        fields = parse(line) or {}
        place = (str(fields.get("origin")), fields["size"] if type(fields.get("size")) is int else -1)
        said = {name: value for name, value in fields.items() if isinstance(value, str)}
        if (type_ := said.get("type")) == "head" and (head := read_head(said.get("note", ""))) is not None:
            if (head.origin, head.size) == place:
                found[place] = SignedHead(head, said["note"])
        elif place in found and type_ == "cosignature" and is_signature(said.get("line", "")):
            found[place].cosignatures.append(said["line"])
        elif place in found and type_ == "timestamp" and unbase64(said.get("response")):
            found[place].timestamps.append(said["response"])
    return list(found.values())


def add(log: Log, type_: str, head: TreeHead, **said: str) -> None:
    """Add a line about a head, durably; the caller holds the log's lock."""
    line = compact({"type": type_, "v": FORMAT, "origin": head.origin, "size": head.size, **said}) + b"\n"
    fd = log.disk.open(log.directory / HEADS)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":  # a crash cut a line that was never handed out
            tail = os.pread(fd, _TAIL, max(0, size - _TAIL))
            log.disk.ftruncate(fd, size - (len(tail) - tail.rfind(b"\n") - 1))
        log.disk.write_all(fd, line)
        log.disk.fdatasync(fd)
    finally:
        log.disk.close(fd)
    log.disk.fsync_directory(log.directory)


def sign_head(log: Log, key: SigningKey, *, is_patient: bool = True) -> SignedHead | None:
    """The tree head over all records, signed now where none is; the caller holds the lock, and the log is durable.

    Unless `is_patient`, None where so much is to be read for it that answers would wait: that is for `catch_up`.
    Raises VaultError, OSError.
    """
    path, last = log.directory / TREE, last_head(log.directory)
    base, size = _believed(log, last)
    if base + size - 1 > log.head.seq:
        raise VaultError(f"the log ends at seq {log.head.seq} and {size} records of it were signed: run `vault verify`")
    if last is not None and size and (last.head.size, base) == (log.head.seq - base + 1, last.head.base):
        return last
    if not is_patient and is_behind(log.directory, base + size):
        return None
    if not size:
        Tree.begin(path, base, log.disk)
    with Tree.opened(path, log.disk) as tree:
        if tree is None:
            raise VaultError(f"{path} cannot be read")
        tree.cut(size)
        tree.grow(_hashes_from(log.directory, base + size, log.head.seq))
        return _sign(log, key, tree, last)


def catch_up(log: Log) -> None:
    """Make the tree anew of all sealed segments, which takes a while, beside whoever writes; then sign that much.

    `log` is the caller's own. Raises VaultError, OSError.
    """
    temporary = log.directory / f"{TREE}.tmp"
    sealed = sealed_segments(log.directory)
    end = (last_record(sealed[-1]) or {}).get("seq") if sealed else None
    first = _first_seq(sealed[0]) if sealed else 0
    if not isinstance(end, int) or not first:
        return
    Tree.begin(temporary, first, log.disk)
    with Tree.opened(temporary, log.disk) as tree:
        if tree is None:
            return
        tree.grow(_hashes_from(log.directory, first, end))
        with log.locked():
            key, last = SigningKey.load(log.directory), last_head(log.directory)
            if key is None or (last is not None and last.head.base == first and last.head.size >= tree.size):
                log.disk.unlink(temporary)
                return
            log.refresh()
            log.sync_all()
            log.disk.rename(temporary, log.directory / TREE)
            log.disk.fsync_directory(log.directory)
            _sign(log, key, tree, last)


def _sign(log: Log, key: SigningKey, tree: Tree, last: SignedHead | None) -> SignedHead:
    head = TreeHead(origin_of(log.vault_id(), tree.base), tree.size, tree.root(tree.size))
    before = last.head if last is not None and last.head.origin == head.origin else None
    if before is not None and (before.size > head.size or tree.root(before.size) != before.root):
        raise VaultError(f"the log is not the one whose first {before.size} records were signed: `vault verify`")
    note = head.signed(key)
    add(log, "head", head, note=note)
    return SignedHead(head, note)


def _believed(log: Log, last: SignedHead | None) -> tuple[int, int]:
    """The base of the log's tree, and how many leaves in its file are as the last head says; 0 where none are."""
    with Tree.opened(log.directory / TREE, log.disk) as tree:
        if tree is not None and last is not None and last.head.origin == origin_of(log.vault_id(), tree.base):
            size = last.head.size
            if size <= tree.size and tree.root(size) == last.head.root:
                return tree.base, size
    return next((seq for one in segments(log.directory) if (seq := _first_seq(one))), 1), 0


def is_behind(directory: Path, seq: int) -> bool:
    """Whether record `seq` is in a segment before the last sealed one."""
    sealed = sealed_segments(directory)
    return bool(sealed) and seq < (sealed[-1].first_seq or 0)


def _hashes_from(directory: Path, seq: int, last: int) -> Iterator[bytes]:
    """The hashes of the records from `seq` to `last`, as their lines say. Raises VaultError where one is missing."""
    for line in _lines_from(directory, seq):
        match = _LINE.fullmatch(line)
        found = int(match[1]) if match else 0
        if match and seq == found <= last:
            yield bytes.fromhex(match[2].decode("ascii"))
            seq += 1
        elif match and found >= seq and found <= last:
            break
    if seq <= last:
        raise VaultError(f"seq {seq} is not in its place in the log: run `vault verify`")


def _lines_from(directory: Path, seq: int) -> Iterator[bytes]:
    """The lines from a record on; where that is near the end of an uncompressed file, no more than its end is read."""
    holding = [one for one in segments(directory) if (one.first_seq or _first_seq(one)) <= seq]
    if holding and not holding[-1].is_compressed:
        with suppress(FileNotFoundError):
            yield from _tail_from(holding[-1], seq)
            seq = _next_first(directory, holding[-1])
            if not seq:
                return
    yield from read_lines(directory, from_seq=seq)


def _first_seq(segment: Segment) -> int:
    return int((first_record(segment) or {"seq": 0})["seq"])


def _next_first(directory: Path, segment: Segment) -> int:
    """The first seq after a sealed segment; 0 where it is the active one."""
    if segment.is_active:
        return 0
    later = [one for one in segments(directory) if one.is_active or (one.first_seq or 0) > (segment.first_seq or 0)]
    return (later[0].first_seq or _first_seq(later[0])) if later else 0


def _tail_from(segment: Segment, seq: int) -> Iterator[bytes]:
    with segment.open() as file:
        size = file.seek(0, os.SEEK_END)
        block = _BLOCK
        while True:
            start = max(0, size - block)
            file.seek(start)
            if start:
                file.readline()
            match = _LINE.fullmatch(file.readline())
            if not start or (match and int(match[1]) <= seq):
                break
            block *= 4
        file.seek(start)
        if start:
            file.readline()
        yield from file
