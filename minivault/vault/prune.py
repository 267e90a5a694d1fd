"""Removing whole sealed segments by age. What was removed, and the hash it ended in, stays recorded and signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minivault.vault.log import Log
from minivault.vault.reader import Record
from minivault.vault.rewrite import maintenance
from minivault.vault.segments import Segment, first_record, last_record, sealed_segments, summarize


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
        [place] = log.append_locked([log.draft("prune", {**fields, "public_key": log.public_key(create=False)})])
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
