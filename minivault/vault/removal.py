"""Taking content out of the log for good, while the chain and everything signed stay valid.

`redact` removes the content of records, or the part of it that a model thought. Each redaction is recorded first, with
the digests of the segment before and after; then the segment is replaced by one in which that content and its salt are
gone. Where a crash comes between, `verify` says that a redaction is not carried out, and `vault recover` completes it.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from minivault.errors import NothingToRedact, VaultError
from minivault.vault.keeping import Keeping
from minivault.vault.log import Log
from minivault.vault.place import Record, Redactions, at_seqs, seq_of
from minivault.vault.reader import read_records
from minivault.vault.record import PART, Draft, Place, compact, content_of, is_record, mark_of, parse, part_of
from minivault.vault.rewrite import Rewritten, maintenance, remove_leftovers, write_beside
from minivault.vault.said.index import forget
from minivault.vault.segments import Segment, first_record, segments

Item = TypeVar("Item")
MAX_BATCH = 4096
"""How many records of a segment are redacted at once: their redactions are written together."""


def redact(
    log: Log,
    targets: Sequence[Record],
    *,
    by: str,
    reason: str,
    part: str | None = None,
    keep_days: float = 0,
    watch: Callable[[int], None] | None = None,
) -> list[Place]:
    """Remove the content of records that were read, in their order, or the `part` of it (`reasoning`).

    All of them are looked at before anything is removed; then the records of one segment go together, and `watch` is
    told how many have gone. Raises VaultError (nothing to redact), Retained (a floor or a hold keeps one), OSError.
    """
    places: list[Place] = []
    with maintenance(log.directory, log.disk):
        left = deque(_removable(log, targets, part, keep_days))
        while left:
            with log.locked():
                segment, batch = _next_of_a_segment(log, left, lambda target: target["seq"], MAX_BATCH)
                places += _redact(log, segment, batch, by, reason, part)
            if watch is not None:
                watch(len(places))
    return places


def _removable(log: Log, targets: Sequence[Record], part: str | None, keep_days: float) -> Iterator[Record]:
    """Of each target what is needed to remove it, once it is known that all of them may go."""
    keeping, redactions = Keeping.now(log.directory, keep_days, log.clock()), Redactions(log.directory)
    wanted = {target["seq"]: target for target in targets}
    found = []
    for record in at_seqs(log.directory, wanted.keys()):
        target = wanted.pop(record["seq"])
        if (record["id"], record["hash"]) != (target["id"], target["hash"]):
            break
        ensure_removable(record, part)
        keeping.ensure_may_go(redactions.lawful(record))
        found.append(slim(record))
    if len(found) != len(targets):
        seq = next(target["seq"] for target in targets if target["seq"] not in {one["seq"] for one in found})
        raise VaultError(f"seq {seq} is another record now: run `vault verify`")
    return iter(found)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What a redaction of many records would do: those that go, named without their content, and how many stay."""

    targets: list[Record] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    """By what keeps them."""
    num_without: int = 0
    """How many have nothing to redact, or no longer."""
    by: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Of those that go: how many, by key and model."""

    @classmethod
    def of(cls, records: Iterable[Record], keeping: Keeping, part: str | None) -> Erasure:
        """Sort records, each checked in its place, by what would become of them. Raises what reading them raises."""
        found, num_without = cls(), 0
        for record in records:
            if not is_removable(record, part):
                num_without += 1
            elif cause := keeping.cause(record):
                found.kept[cause] += 1
            else:
                found.targets.append(slim(record))
                found.by[str(record.get("key") or "-"), str(record.get("model"))] += 1
        return replace(found, num_without=num_without)


def is_removable(record: Record, part: str | None) -> bool:
    """Whether a record has something to redact."""
    try:
        ensure_removable(record, part)
    except NothingToRedact:
        return False
    return True


def slim(record: Record) -> Record:
    """What names a record for a removal, without its content."""
    return {name: record[name] for name in ("seq", "id", "hash", "type", "v", "timestamp")}


def ensure_removable(found: Record, part: str | None) -> None:
    """Raise NothingToRedact where a record has nothing to redact."""
    if "redacted" in found:
        raise NothingToRedact(f"record {found['id']} was redacted by record {found['redacted'].get('record')}")
    if part is not None and "reasoning_redacted" in found:
        told = found["reasoning_redacted"].get("record")
        raise NothingToRedact(f"the thoughts of record {found['id']} were redacted by record {told}")
    if part is not None and not part_of(found):
        raise NothingToRedact(f"record {found['id']} holds no thoughts")
    if "content_sha256" not in found:
        raise NothingToRedact(f"record {found['id']} is of type {found['type']} and holds no content")


def complete_redactions(log: Log) -> int:
    """Carry out recorded redactions that a crash cut short; returns how many there were. Raises OSError, VaultError.

    Those of one segment go together, since one digest was recorded for them all.
    """
    recorded = [r for r in read_records(log.directory) if r.get("type") == "redaction"]
    by_target = {(r["target_seq"], r.get("part")): r for r in recorded}
    num_completed = 0
    for part in (PART, None):
        left = deque(
            (slim(record), _stub(by_target[record["seq"], part]))
            for record in read_records(log.directory)
            if (record.get("seq"), part) in by_target and "redacted" not in record and mark_of(part) not in record
        )
        num_completed += len(left)
        while left:
            with maintenance(log.directory, log.disk), log.locked():
                segment, batch = _next_of_a_segment(log, left, lambda item: item[0]["seq"])
                _swap(log, segment, _rewritten(log, segment, batch, part))
    return num_completed


def _redact(
    log: Log, segment: Segment, targets: Sequence[Record], by: str, reason: str, part: str | None
) -> list[Place]:
    """Redact records of one segment; the caller holds both locks and has settled the log."""
    drafts, batch = [], []
    for seq, target in enumerate(targets, log.head.seq + 1):
        what = {"target_id": target["id"], "target_seq": target["seq"]} | ({"part": part} if part else {})
        draft = log.draft("redaction", {**what, "by": by, "reason": reason})
        drafts.append(draft)
        batch.append((target, {"at": draft.fields["timestamp"], "by": by, "record": seq}))
    digests: dict[str, Any] = {"segment": segment.name}
    if not segment.is_active:
        new = _rewritten(log, segment, batch, part)
        digests |= {"sha256_before": new.sha256_before, "sha256_after": new.sha256_after}
    places = log.append_locked([Draft(draft.type, {**draft.fields, **digests}) for draft in drafts])
    log.sync()
    if segment.is_active:
        new = _rewritten(log, segment, batch, part)
    _swap(log, segment, new)
    return places


def _stub(record: Record) -> dict[str, Any]:
    """What stands in a redacted line; of format 1 with the reason, which is now for its own record alone to say."""
    stub = {"at": record["timestamp"], "by": record["by"], "record": record["seq"]}
    return stub if record.get("v") != 1 else {"at": stub["at"], "by": stub["by"], "reason": record["reason"], **stub}


def _next_of_a_segment(
    log: Log, left: deque[Item], seq_of_item: Callable[[Item], int], most: float = math.inf
) -> tuple[Segment, list[Item]]:
    """The segment that holds the first of what is left, and what of it is there too, at most so many, taken out. The
    caller holds both locks; the log is settled."""
    remove_leftovers(log.directory, log.disk)
    log.settle_locked()
    segment, end = _holding(log, seq_of_item(left[0]))
    batch: list[Item] = []
    while left and seq_of_item(left[0]) < end and len(batch) < most:
        batch.append(left.popleft())
    return segment, batch


def _holding(log: Log, seq: int) -> tuple[Segment, float]:
    """The segment that holds a seq, and the first seq after it."""
    files = segments(log.directory)
    starts = [segment.first_seq or log.head.first_seq for segment in files]
    at = max(index for index, start in enumerate(starts) if start <= seq)
    return files[at], starts[at + 1] if at + 1 < len(files) else math.inf


def _rewritten(
    log: Log, segment: Segment, batch: Sequence[tuple[Record, Mapping[str, Any]]], part: str | None
) -> Rewritten:
    """The segment without the content of these records, each with the stub that takes its place."""
    eraser = _Eraser(batch, segment, part)
    new = write_beside(segment, log.disk, compress=segment.is_compressed, change=eraser.change)
    if eraser.num_changed != len(batch):
        log.disk.unlink(new.temporary)
        raise VaultError(f"seq {batch[0][0]['seq']} is not in {segment.path.name}: run `vault verify`")
    return new


class _Eraser:
    """Changes lines of a segment; of a `recovered` record also the torn bytes before it, which it describes."""

    def __init__(self, batch: Sequence[tuple[Record, Mapping[str, Any]]], segment: Segment, part: str | None) -> None:
        self.num_changed = 0
        self._batch = {target["seq"]: (target, stub) for target, stub in batch}
        self._part = part
        self._torn = {target["seq"] for target, _ in batch if target["type"] == "recovered" and target.get("v") != 1}
        first = first_record(segment) if self._torn else None
        self._is_next = first is not None and first.get("seq") in self._torn

    def change(self, line: bytes) -> bytes:
        if self._torn and not is_record(line):
            return b"\n" if self._is_next else line
        seq = seq_of(line)
        fields = parse(line) if self._torn or seq is None or seq in self._batch else None
        if fields is None:
            return line
        if self._torn:
            self._is_next = fields.get("seq", 0) + 1 in self._torn
        target, stub = self._batch.get(fields.get("seq", 0), ({}, {}))
        if not target or any(fields.get(name) != target[name] for name in ("seq", "id", "hash")):
            return line
        self.num_changed += 1
        return _without_content(fields, stub, self._part)


def _without_content(fields: Record, stub: Mapping[str, Any], part: str | None) -> bytes:
    content = content_of(fields) if part is None else part_of(fields)
    salts = ("salt", "reasoning_salt") if part is None else ("reasoning_salt",)
    kept: dict[str, Any] = {}
    for key, value in fields.items():
        if key not in content and key not in salts:
            kept[key] = value
        elif mark_of(part) not in kept:
            kept[mark_of(part)] = dict(stub)
    return compact(kept) + b"\n"


def _swap(log: Log, segment: Segment, new: Rewritten) -> None:
    """Put the new form in the old one's place, durably; what is kept of the old one for `said` goes first."""
    forget(log.directory, [segment.name], log.disk)
    log.disk.rename(new.temporary, segment.path)
    log.disk.fsync_directory(log.directory)
