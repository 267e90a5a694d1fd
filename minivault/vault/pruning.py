"""Removing whole sealed segments by age. What was removed, and the hash it ended in, stays recorded and signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from minivault.errors import BadRequest, Retained
from minivault.vault.head import last_record
from minivault.vault.keeping import SETTING, Keeping
from minivault.vault.log import Log
from minivault.vault.place import Record
from minivault.vault.proof.checkpoint import write_checkpoint_locked
from minivault.vault.proof.key import read_public
from minivault.vault.record import parse
from minivault.vault.rewrite import maintenance
from minivault.vault.said.index import forget
from minivault.vault.segments import Segment, first_record, sealed_segments, summarize

MAX_DAYS = 36_525


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one prune removed; `seq` is the record that says so, None where there was nothing to remove."""

    seq: int | None
    segments: tuple[dict[str, Any], ...] = ()
    held: str = ""
    """Why it went no further, where a hold was in its way."""

    @property
    def num_records(self) -> int:
        return sum(segment["last_seq"] - segment["first_seq"] + 1 for segment in self.segments)


def prune(log: Log, *, keep_days: float, by: str, floor_days: float = 0) -> Pruned:
    """Remove the oldest sealed segments in which every record is older than `keep_days`, up to a held one.

    The record of it is durable and signed before the first file goes; the files go oldest first, so that what a crash
    leaves is still one chain. Raises Retained (below the floor, or nothing but held segments), VaultError, OSError.
    """
    ensure_above_floor(keep_days, floor_days)
    with maintenance(log.directory, log.disk):
        now_ns = log.clock()
        keeping = Keeping.now(log.directory, keep_days, now_ns)
        old, held = _removable(log, keeping)
        if not old and held:
            raise Retained(f"{held}; nothing was removed")
        if not old:
            return Pruned(None)
        removed = tuple(_describe(segment, last) for segment, last in old)
        with log.locked():
            log.refresh()
            write_checkpoint_locked(log)  # what cannot be signed is not begun
            fields = {"by": by, "keep_days": keep_days, "segments": list(removed), "vault": log.vault_id()}
            [place] = log.append_locked([log.draft("prune", {**fields, "public_key": read_public(log.directory)})])
            log.sync()
            write_checkpoint_locked(log)  # a log's beginning is believed only where this is signed
            forget(log.directory, [segment.name for segment, _ in old], log.disk)
            for segment, _ in old:
                log.disk.unlink(segment.path)
            log.disk.fsync_directory(log.directory)
        return Pruned(place.seq, removed, held)


def ensure_above_floor(keep_days: float, floor_days: float) -> None:
    """Raise Retained where a prune would remove what the retention floor keeps, BadRequest for no number of days."""
    if not 0 <= keep_days <= MAX_DAYS:
        raise BadRequest(f"--keep-days is a number from 0 to {MAX_DAYS}", field="keep_days")
    if keep_days < floor_days:
        raise Retained(
            f"{SETTING}={floor_days:g} keeps what is younger than {floor_days:g} days; nothing was removed. "
            f"Give --keep-days {floor_days:g} or more"
        )


def _removable(log: Log, keeping: Keeping) -> tuple[list[tuple[Segment, Record]], str]:
    """The segments that may go, each with its last record, and which hold kept the next one, if that is why."""
    found: list[tuple[Segment, Record]] = []
    for segment in sealed_segments(log.directory):
        last = last_record(segment)
        if last is None or keeping.is_young(last):
            break
        is_old, held = True, ""
        for record in filter(None, map(parse, segment.lines())):
            is_old = is_old and not keeping.is_young(record)
            held = held or keeping.refusal(record)
        if held and is_old:
            return found, held
        if not is_old:
            break
        found.append((segment, last))
    return found, ""


def _describe(segment: Segment, last: Record) -> dict[str, Any]:
    first = first_record(segment) or last
    digest = summarize(segment).sha256
    span = {"first_seq": first["seq"], "last_seq": last["seq"], "last_hash": last["hash"]}
    return {"name": segment.name, **span, "sha256": digest}
