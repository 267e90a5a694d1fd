"""Reading records in their place: what is shown has been checked against its own hashes and its neighbours.

Every reader of the log comes through here, so that none is shown what `verify` would not have read: the same files in
the same order, a record's content against its commitment, its seq and hash against the record before and the one after.
That the chain as a whole is the one that was signed is the business of `verify`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NoReturn

from minivault.errors import VaultError
from minivault.vault.record import NO_HASH, is_content_sound, is_record, is_sound, mark_of, marks_in, parse
from minivault.vault.segments import Segment, sealed_segments, segments

Record = dict[str, Any]
_SAYS_SEQ = re.compile(rb'\{"type":"[^"]*","v":\d+,"seq":(\d{1,18}),')


def read_lines(directory: Path, *, from_seq: int = 1) -> Iterator[bytes]:
    """Every line of the segments that hold `from_seq` and later, in order."""
    files = segments(directory)
    for index, segment in enumerate(files):
        following = files[index + 1].first_seq if index + 1 < len(files) else None
        if following is None or following > from_seq:
            yield from _lines(segment)


def _lines(segment: Segment) -> Iterator[bytes]:
    try:
        yield from segment.lines()
    except FileNotFoundError:  # sealed or compressed since the directory was listed
        successor = _successor(segment)
        if successor is not None:
            yield from successor.lines()


def _successor(segment: Segment) -> Segment | None:
    sealed = sealed_segments(segment.path.parent)
    if segment.is_active:
        return sealed[-1] if sealed else None
    return next((other for other in sealed if other.first_seq == segment.first_seq), None)


def in_place(directory: Path, may_match: Callable[[bytes], bool], *, from_seq: int = 1) -> Iterator[Record]:
    """The records from `from_seq` on whose lines may match, each checked in its place. Raises VaultError."""
    before, held = b"", None  # the line before, and a record whose next is awaited
    for line in filter(is_record, read_lines(directory, from_seq=max(1, from_seq - 1))):
        if held is not None:
            ensure_follows(held, parse(line))
            yield held
        held = None
        seq = seq_of(line)
        if (seq is None or seq >= from_seq) and may_match(line):
            record = checked(before, line)
            held = record if record["seq"] >= from_seq else None
        before = line
    if held is not None:
        yield held


def whole_chain(directory: Path, *, from_seq: int = 1) -> Iterator[Record]:
    """Every record from `from_seq` on, each checked in its place. Raises VaultError."""
    return in_place(directory, lambda _line: True, from_seq=from_seq)


def checked(before: bytes, line: bytes) -> Record:
    """The record of a line, checked by itself and against the line before (empty: there is none)."""
    record = parse(line)
    if record is None or not is_sound(record) or not is_content_sound(record):
        _refuse(record)
    if before:
        ensure_follows(parse(before), record)
    elif record["seq"] == 1 and record.get("prev") != NO_HASH:
        _refuse(record)
    return record


def ensure_follows(before: Record | None, record: Record | None) -> None:
    """Raise VaultError unless `record` is sound and stands right after `before` in the chain."""
    if before is None or record is None or not is_sound(record):
        _refuse(record or before)
    elif (record["seq"], record.get("prev")) != (_next_seq(before), before.get("hash")):
        _refuse(record)


def ensure_redacted_by(record: Record, redaction: Record) -> None:
    """Raise VaultError unless the mark on a redacted record is what its redaction record says."""
    expected = {"at": redaction.get("timestamp"), "by": redaction.get("by"), "record": redaction["seq"]}
    if redaction.get("v") == 1:
        expected["reason"] = redaction.get("reason")
    target = (redaction.get("type"), redaction.get("target_seq"))
    mark = mark_of(redaction.get("part"))
    if record.get(mark) != expected or target != ("redaction", record["seq"]):
        _refuse(record)


def at_seq(directory: Path, seq: int) -> Record | None:
    """The record at a seq, checked in its place and its mark of redaction; None where there is none.

    Raises VaultError.
    """
    record = _at_seq(directory, seq)
    return record if record is None else lawful(directory, record)


def _at_seq(directory: Path, seq: int) -> Record | None:
    return next(at_seqs(directory, {seq}), None)


def at_seqs(directory: Path, seqs: Collection[int]) -> Iterator[Record]:
    """The records at these seqs, in order, each checked in its place but not for its mark of redaction. Raises
    VaultError."""
    left = len(seqs)
    for record in in_place(
        directory, lambda line: (seq := seq_of(line)) is None or seq in seqs, from_seq=min(seqs, default=1)
    ):
        if record["seq"] in seqs:
            yield record
            left -= 1
        if not left:
            return


def seq_of(line: bytes) -> int | None:
    """The seq that a line says it has, by a quick look; None where that does not tell."""
    said = _SAYS_SEQ.match(line)
    return int(said[1]) if said else None


def lawful(directory: Path, record: Record) -> Record:
    """The record, unless it bears a mark of redaction that no redaction record agrees with. Raises VaultError."""
    return Redactions(directory).lawful(record)


class Redactions:
    """The redaction records that marks refer to, for whoever reads many records: those in a row are read together."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[int, Record] = {}

    def lawful(self, record: Record) -> Record:
        """As the function of that name."""
        for mark in marks_in(record):
            stub = record[mark]
            seq = stub.get("record") if isinstance(stub, dict) else None
            redaction = self._at(seq) if isinstance(seq, int) and seq > record["seq"] else None
            if redaction is None or mark_of(redaction.get("part")) != mark:
                _refuse(record)
            ensure_redacted_by(record, redaction)
        return record

    def _at(self, seq: int) -> Record | None:
        if seq not in self._known:
            self._known.clear()
            for redaction in in_place(self._directory, lambda _line: True, from_seq=seq):
                if redaction["type"] != "redaction":
                    break
                self._known[redaction["seq"]] = redaction
        return self._known.get(seq)


def _next_seq(record: Record) -> int:
    seq = record.get("seq")
    return seq + 1 if isinstance(seq, int) else 0


def _refuse(record: Record | None) -> NoReturn:
    seq = record.get("seq") if record else None
    raise VaultError(f"the record that calls itself seq {seq!r} was changed or is not in its place: run `vault verify`")
