"""Taking the content out of a record for good, while the chain and everything signed stay valid.

The redaction is recorded first, with the digests of the segment before and after; then the segment is replaced by one
in which that record's content and salt are gone. Where a crash comes between, `verify` says that a redaction is not
carried out, and `vault recover` completes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minivault.errors import NotFound, VaultError
from minivault.vault.index import Index
from minivault.vault.log import Log
from minivault.vault.reader import read_records
from minivault.vault.record import CONTENT_KEYS, Place, compact, parse
from minivault.vault.rewrite import Rewritten, maintenance, remove_leftovers, write_beside
from minivault.vault.segments import Segment, segments


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
    [place] = log.append_locked([log.extend(record, digests)])
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
