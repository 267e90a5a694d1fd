"""Taking something out of the log for good, while the chain and everything signed stay valid.

`redact` removes the content of one record. The redaction is recorded first, with the digests of the segment before and
after; then the segment is replaced by one in which that record's content and salt are gone. Where a crash comes
between, `verify` says that a redaction is not carried out, and `vault recover` completes it.

`prune` removes whole sealed segments by age. What was removed, and the hash it ended in, stays recorded and signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from minivault.errors import NotFound, VaultError
from minivault.vault.head import last_record
from minivault.vault.index import Index
from minivault.vault.log import Log
from minivault.vault.proof.key import read_public
from minivault.vault.reader import Record, read_records
from minivault.vault.record import CONTENT_KEYS, Draft, Place, compact, parse
from minivault.vault.rewrite import Rewritten, maintenance, remove_leftovers, write_beside
from minivault.vault.segments import Segment, first_record, sealed_segments, segments, summarize


def redact(log: Log, id_: str, *, by: str, reason: str) -> Place:
    """Remove the content of the record `id_`. Raises NotFound, VaultError (nothing to redact), OSError."""
    with maintenance(log.directory, log.disk), log.locked():
        with Index(log.directory) as index:
            target = index.find(id_)
        if target is None:
            raise NotFound(f"the vault holds no record {id_}")
        if "redacted" in target:
            raise VaultError(f"record {id_} was redacted by record {target['redacted'].get('record')}")
        if "content_sha256" not in target:
            raise VaultError(f"record {id_} is of type {target['type']} and holds no content")
        return _redact(log, target, by, reason)


def complete_redactions(log: Log) -> int:
    """Carry out recorded redactions that a crash cut short; returns how many there were. Raises OSError."""
    recorded = {r["target_seq"]: r for r in read_records(log.directory) if r.get("type") == "redaction"}
    present = [r for r in read_records(log.directory) if r.get("seq") in recorded and "redacted" not in r]
    for target in present:
        with maintenance(log.directory, log.disk), log.locked():
            log.settle_locked()
            record = recorded[target["seq"]]
            segment = _holding(log, target["seq"])
            new = _rewritten(log, segment, target["seq"], _stub(record))
            _swap(log, segment, new)
    return len(present)


def _redact(log: Log, target: Mapping[str, Any], by: str, reason: str) -> Place:
    remove_leftovers(log.directory, log.disk)
    head = log.settle_locked()
    segment = _holding(log, target["seq"])
    record = log.draft(
        "redaction", {"target_id": target["id"], "target_seq": target["seq"], "by": by, "reason": reason}
    )
    stub = {"at": record.fields["timestamp"], "by": by, "reason": reason, "record": head.seq + 1}
    digests: dict[str, Any] = {"segment": segment.name}
    if not segment.is_active:
        new = _rewritten(log, segment, target["seq"], stub)
        digests |= {"sha256_before": new.sha256_before, "sha256_after": new.sha256_after}
    [place] = log.append_locked([Draft(record.type, {**record.fields, **digests})])
    log.sync()
    if segment.is_active:
        new = _rewritten(log, segment, target["seq"], stub)
    _swap(log, segment, new)
    return place


def _stub(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"at": record["timestamp"], "by": record["by"], "reason": record["reason"], "record": record["seq"]}


def _holding(log: Log, seq: int) -> Segment:
    """The segment that holds a seq."""
    candidates = [s for s in segments(log.directory) if (s.first_seq or log.head.first_seq) <= seq]
    return candidates[-1]


def _rewritten(log: Log, segment: Segment, seq: int, stub: Mapping[str, Any]) -> Rewritten:
    mark = b'"seq":%d,' % seq

    def change(line: bytes) -> bytes:
        fields = parse(line) if mark in line else None
        return _without_content(fields, stub) if fields is not None and fields.get("seq") == seq else line

    return write_beside(segment, log.disk, compress=segment.is_compressed, change=change)


def _without_content(fields: Mapping[str, Any], stub: Mapping[str, Any]) -> bytes:
    kept: dict[str, Any] = {}
    for key, value in fields.items():
        if key not in CONTENT_KEYS and key != "salt":
            kept[key] = value
        elif "redacted" not in kept:
            kept["redacted"] = dict(stub)
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

    The record of it is durable before the first file goes; the files go oldest first, so that what a crash leaves is
    still one chain.
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
