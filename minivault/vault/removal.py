"""Taking something out of the log for good, while the chain and everything signed stay valid.

`redact` removes the content of one record, or the part of it that a model thought. The redaction is recorded first,
with the digests of the segment before and after; then the segment is replaced by one in which that content and its salt
are gone. Where a crash comes between, `verify` says that a redaction is not carried out, and `vault recover` completes
it.

`prune` removes whole sealed segments by age. What was removed, and the hash it ended in, stays recorded and signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.errors import VaultError
from minivault.vault.head import last_record
from minivault.vault.log import Log
from minivault.vault.place import Record, at_seq
from minivault.vault.proof.checkpoint import write_checkpoint_locked
from minivault.vault.proof.key import read_public
from minivault.vault.reader import read_records
from minivault.vault.record import PART, Draft, Place, compact, content_of, is_record, mark_of, parse, part_of
from minivault.vault.rewrite import Rewritten, maintenance, remove_leftovers, write_beside
from minivault.vault.segments import Segment, first_record, sealed_segments, segments, summarize


def redact(log: Log, target: Record, *, by: str, reason: str, part: str | None = None) -> Place:
    """Remove the content of a record that was read, or the `part` of it (`reasoning`). Raises VaultError (nothing to
    redact), OSError."""
    with maintenance(log.directory, log.disk), log.locked():
        found = at_seq(log.directory, target["seq"])
        if found is None or (found["id"], found["hash"]) != (target["id"], target["hash"]):
            raise VaultError(f"seq {target['seq']} is another record now: run `vault verify`")
        if "redacted" in found:
            raise VaultError(f"record {found['id']} was redacted by record {found['redacted'].get('record')}")
        if part is not None and "reasoning_redacted" in found:
            told = found["reasoning_redacted"].get("record")
            raise VaultError(f"the thoughts of record {found['id']} were redacted by record {told}")
        if part is not None and not part_of(found):
            raise VaultError(f"record {found['id']} holds no thoughts")
        if "content_sha256" not in found:
            raise VaultError(f"record {found['id']} is of type {found['type']} and holds no content")
        return _redact(log, found, by, reason, part)


def complete_redactions(log: Log) -> int:
    """Carry out recorded redactions that a crash cut short; returns how many there were. Raises OSError, VaultError."""
    recorded = [r for r in read_records(log.directory) if r.get("type") == "redaction"]
    by_target = {(r["target_seq"], r.get("part")): r for r in recorded}
    present = [
        (record, by_target[record.get("seq"), part])
        for record in read_records(log.directory)
        for part in (PART, None)
        if (record.get("seq"), part) in by_target and "redacted" not in record and mark_of(part) not in record
    ]
    for target, redaction in present:
        with maintenance(log.directory, log.disk), log.locked():
            remove_leftovers(log.directory, log.disk)
            log.settle_locked()
            segment = _holding(log, target["seq"])
            new = _rewritten(log, segment, target, _stub(redaction), redaction.get("part"))
            _swap(log, segment, new)
    return len(present)


def _redact(log: Log, target: Record, by: str, reason: str, part: str | None) -> Place:
    remove_leftovers(log.directory, log.disk)
    head = log.settle_locked()
    segment = _holding(log, target["seq"])
    what = {"target_id": target["id"], "target_seq": target["seq"]} | ({"part": part} if part else {})
    record = log.draft("redaction", {**what, "by": by, "reason": reason})
    stub = {"at": record.fields["timestamp"], "by": by, "record": head.seq + 1}
    digests: dict[str, Any] = {"segment": segment.name}
    if not segment.is_active:
        new = _rewritten(log, segment, target, stub, part)
        digests |= {"sha256_before": new.sha256_before, "sha256_after": new.sha256_after}
    [place] = log.append_locked([Draft(record.type, {**record.fields, **digests})])
    log.sync()
    if segment.is_active:
        new = _rewritten(log, segment, target, stub, part)
    _swap(log, segment, new)
    return place


def _stub(record: Record) -> dict[str, Any]:
    """What stands in a redacted line; of format 1 with the reason, which is now for its own record alone to say."""
    stub = {"at": record["timestamp"], "by": record["by"], "record": record["seq"]}
    return stub if record.get("v") != 1 else {"at": stub["at"], "by": stub["by"], "reason": record["reason"], **stub}


def _holding(log: Log, seq: int) -> Segment:
    """The segment that holds a seq."""
    candidates = [s for s in segments(log.directory) if (s.first_seq or log.head.first_seq) <= seq]
    return candidates[-1]


def _rewritten(log: Log, segment: Segment, target: Record, stub: Mapping[str, Any], part: str | None) -> Rewritten:
    eraser = _Eraser(target, stub, segment, part)
    new = write_beside(segment, log.disk, compress=segment.is_compressed, change=eraser.change)
    if eraser.num_changed != 1:
        log.disk.unlink(new.temporary)
        raise VaultError(f"seq {target['seq']} is not in {segment.path.name}: run `vault verify`")
    return new


class _Eraser:
    """Changes one line of a segment; of a `recovered` record also the torn bytes before it, which it describes."""

    def __init__(self, target: Record, stub: Mapping[str, Any], segment: Segment, part: str | None) -> None:
        self.num_changed = 0
        self._target, self._stub, self._part = target, stub, part
        self._mark = b'"seq":%d,' % target["seq"]
        self._has_torn_bytes = target["type"] == "recovered" and target.get("v") != 1
        first = first_record(segment) if self._has_torn_bytes else None
        self._is_next = first is not None and first.get("seq") == target["seq"]

    def change(self, line: bytes) -> bytes:
        if self._has_torn_bytes and not is_record(line):
            return b"\n" if self._is_next else line
        fields = parse(line) if self._has_torn_bytes or self._mark in line else None
        if fields is None:
            return line
        self._is_next = fields.get("seq") == self._target["seq"] - 1
        if any(fields.get(name) != self._target[name] for name in ("seq", "id", "hash")):
            return line
        self.num_changed += 1
        return _without_content(fields, self._stub, self._part)


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
    """Put the new form in the old one's place, durably."""
    log.disk.rename(new.temporary, segment.path)
    log.disk.fsync_directory(log.directory)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one prune removed; `seq` is the record that says so, None where there was nothing to remove."""

    seq: int | None
    segments: tuple[dict[str, Any], ...] = ()

    @property
    def num_records(self) -> int:
        return sum(segment["last_seq"] - segment["first_seq"] + 1 for segment in self.segments)


def prune(log: Log, *, keep_days: float, by: str) -> Pruned:
    """Remove the oldest sealed segments whose last record is older than `keep_days`. Raises OSError, VaultError.

    The record of it is durable and signed before the first file goes; the files go oldest first, so that what a crash
    leaves is still one chain.
    """
    before_ns = log.clock() - int(keep_days * 86400e9)
    with maintenance(log.directory, log.disk), log.locked():
        log.refresh()
        old = _older(log, before_ns)
        if not old:
            return Pruned(None)
        removed = tuple(_describe(segment, last) for segment, last in old)
        fields = {"by": by, "keep_days": keep_days, "segments": list(removed), "vault": log.vault_id()}
        [place] = log.append_locked([log.draft("prune", {**fields, "public_key": read_public(log.directory)})])
        log.sync()
        write_checkpoint_locked(log)  # a log's beginning is believed only where this is signed
        for segment, _ in old:
            log.disk.unlink(segment.path)
        log.disk.fsync_directory(log.directory)
        return Pruned(place.seq, removed)


def _older(log: Log, before_ns: int) -> list[tuple[Segment, Record]]:
    found = []
    for segment in sealed_segments(log.directory):
        last = last_record(segment)
        if last is None or last["time_ns"] >= before_ns:
            break
        found.append((segment, last))
    return found


def _describe(segment: Segment, last: Record) -> dict[str, Any]:
    first = first_record(segment) or last
    digest = summarize(segment).sha256
    span = {"first_seq": first["seq"], "last_seq": last["seq"], "last_hash": last["hash"]}
    return {"name": segment.name, **span, "sha256": digest}
