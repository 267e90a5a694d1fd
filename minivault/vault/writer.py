"""The one thread of a process that writes in the vault, and what it does when it cannot.

It drains a bounded queue and commits whatever has gathered as one batch (group commit): journal entries and records
are written, synced, and only then acknowledged. When a commit fails, everything in it is refused and so is everything
after, at once, until a probe succeeds; the first thing written then is what is still owed and a `gap` record that says
how much was refused, since when and why. Nothing is dropped silently, and no failed fsync is believed later: the
segment is copied to a fresh file first.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal

from minivault.errors import MiniVaultError, VaultUnavailable
from minivault.moment import rfc3339
from minivault.vault.journal import Journal
from minivault.vault.log import Log
from minivault.vault.record import Draft, Place
from minivault.vault.upkeep import Upkeep

Sync = Literal["synced", "written", "async"]
PROBE_S = 0.25
_MAX_PENDING = 1024
_MAX_TIMES = 4096
_ROOM_TIMEOUT_S = 5.0
_NOWHERE = Place(0, "")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Work:
    """One thing to commit: a journal entry (`opening`, as its line holds it) or a record (`draft`).

    `entry` is the interaction's id; empty for other records.
    """

    entry: str = ""
    opening: bytes = b""
    draft: Draft | None = None
    done: Future[Place] = field(default_factory=Future)

    @property
    def is_owed(self) -> bool:
        """Whether it is the record of an accepted interaction, which the log gets even after a refusal."""
        return bool(self.entry and self.draft)


@dataclass(slots=True)
class Fault:
    """Why the vault refuses, since when, and how many times it has."""

    reason: str
    since_ns: int
    num_refused: int = 0

    def refuse(self) -> VaultUnavailable:
        """Count one more refusal; returns what to raise for it."""
        self.num_refused += 1
        return self.refusal()

    def refusal(self) -> VaultUnavailable:
        """What to raise while it lasts."""
        return VaultUnavailable(f"the answer cannot be recorded, so it is not given: {self.reason}")


class Writer:
    """Owns the log and the journal of this process. `submit` is thread-safe; the rest runs on its thread."""

    def __init__(self, log: Log, journal: Journal, upkeep: Upkeep, sync: Sync) -> None:
        self._log = log
        self._journal = journal
        self._upkeep = upkeep
        self._sync = sync
        self._pid = os.getpid()
        self._changed = threading.Condition()
        """Guards `_pending`, `_is_stopped` and the fault; notified when there is work, room or an end."""
        self._pending: list[Work] = []
        self._is_stopped = False
        self._fault: Fault | None = None
        self._owed: list[Work] = []
        self._unsure: list[Work] = []
        self._acknowledged: Future[Place] = Future()
        self._acknowledged.set_result(_NOWHERE)
        self.num_gaps = 0
        self.commits_s: deque[float] = deque(maxlen=_MAX_TIMES)
        """How long groups of records took, until somebody takes them out."""
        self._thread = threading.Thread(target=self._run, name="vault-writer", daemon=True)

    def start(self, first: Sequence[Work]) -> None:
        """Commit `first` on this thread, so that its outcome is known, then start the writer thread."""
        self._turn(list(first))
        self._thread.start()

    @property
    def fault(self) -> Fault | None:
        return self._fault

    def submit(self, work: Work) -> Future[Place]:
        """Queue work; returns what its sender has to wait for, which under `async` is nothing.

        It fails with VaultUnavailable at once while the vault refuses.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a vault is opened after the fork: this one belongs to another process")
        with self._changed:
            self._enqueue(work)
        return self._acknowledged if self._sync == "async" else work.done

    def check_writable(self) -> None:
        """Raise VaultUnavailable while the vault refuses; that counts as one refusal."""
        if self._fault is None:
            return
        with self._changed:
            if self._fault is not None:
                raise self._fault.refuse()

    def stop(self, last: Work, timeout_s: float) -> bool:
        """Commit what is queued, `last` included, and end the thread; False where that took longer."""
        with self._changed:
            self._enqueue(last)
            self._is_stopped = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        with self._changed:  # whoever waits for a thread that is stuck: open in the journal, so not lost
            late, self._pending = self._pending, []
        for work in late:
            work.done.set_exception(_closed())
        return not self._thread.is_alive()

    def _enqueue(self, work: Work) -> None:
        """Add to what is pending, or refuse at once; the caller holds `_changed`."""
        if self._fault is not None and not work.is_owed:
            work.done.set_exception(self._fault.refuse())
            return
        if len(self._pending) >= _MAX_PENDING:
            self._changed.wait_for(lambda: len(self._pending) < _MAX_PENDING or self._is_stopped, _ROOM_TIMEOUT_S)
        if self._is_stopped:
            work.done.set_exception(_closed())
        elif len(self._pending) >= _MAX_PENDING:
            work.done.set_exception(VaultUnavailable("the vault's queue is full; try again in a moment"))
        else:
            self._pending.append(work)
            self._changed.notify_all()

    def _run(self) -> None:
        is_last = False
        while not is_last:
            batch, is_last = self._take()
            self._turn(batch)

    def _take(self) -> tuple[list[Work], bool]:
        """What has gathered, waiting for something; nothing after a while during a fault, to probe."""
        with self._changed:
            if not self._pending and not self._is_stopped:
                self._changed.wait(PROBE_S if self._fault else None)
            batch, self._pending = self._pending, []
            if len(batch) >= _MAX_PENDING:
                self._changed.notify_all()
            return batch, self._is_stopped

    def _turn(self, batch: list[Work]) -> None:
        """Commit a batch, or refuse it and probe. The writer outlives every error: it reports and refuses."""
        try:
            if self._fault is None:
                self._commit(batch)
            else:
                self._refuse(batch, self._fault)
                self._probe(self._fault)
        except Exception as error:
            if not isinstance(error, (OSError, MiniVaultError)):
                logger.exception("the vault's writer failed")
            self._refuse(batch, self._enter_fault(_reason(error)))

    def _commit(self, batch: list[Work]) -> None:
        entries = [work for work in batch if work.opening]
        records = [work for work in batch if work.draft is not None]
        began_s = time.monotonic()
        places = self._write(entries, records)
        self._journal.done([work.entry for work in records if work.entry])
        for work in entries:
            work.done.set_result(_NOWHERE)
        for work, place in zip(records, places, strict=True):
            work.done.set_result(place)
        if records:
            self.commits_s.append(time.monotonic() - began_s)
            self._upkeep.after_commit(len(records))

    def _write(self, entries: list[Work], records: list[Work]) -> list[Place]:
        if entries:
            self._journal.write([(work.entry, work.opening) for work in entries], self._log.head.seq)
        places = self._log.append([work.draft for work in records if work.draft]) if records else []
        if self._sync == "synced":
            if entries:
                self._journal.sync()
            if records:
                self._sync_log(records)
        return places

    def _sync_log(self, records: list[Work]) -> None:
        try:
            self._log.sync()
        except OSError:
            self._unsure += records
            self._log.rewrite()
            self._unsure.clear()

    def _refuse(self, batch: list[Work], fault: Fault) -> None:
        """Fail what is pending in a batch; records of accepted interactions stay owed to the log."""
        for work in batch:
            if work.done.done():
                continue
            if work.is_owed:
                self._owed += [work] if work not in self._unsure else []
                work.done.set_exception(fault.refusal())
                continue
            self._journal.done([work.entry] if work.entry else [])
            with self._changed:
                work.done.set_exception(fault.refuse())

    def _enter_fault(self, reason: str) -> Fault:
        with self._changed:
            if self._fault is None:
                logger.error("vault: refusing every answer: %s", reason)
                self._fault = Fault(reason, self._log.clock())
            self._fault.reason = reason
            return self._fault

    def _probe(self, fault: Fault) -> None:
        """Try to write what is owed and a gap record; success ends the fault. Raises what is still wrong."""
        if self._unsure:
            self._log.rewrite()
        self._log.reopen()
        self._log.look()  # nothing is written, in the journal either, before this is known to be the same vault
        self._journal.forget()
        self._journal.probe()
        num_told, late = fault.num_refused, [work.entry for work in (*self._unsure, *self._owed) if work.entry]
        gap = self._log.draft("gap", self._gap_fields(fault, late))
        self._log.append([*(work.draft for work in self._owed if work.draft), gap])
        self._unsure, self._owed = [*self._unsure, *self._owed], []
        with self._changed:
            fault.num_refused -= num_told
        self._log.sync()
        self._journal.done(late)
        self._unsure = []
        self._end_fault(fault)

    def _gap_fields(self, fault: Fault, late: list[str]) -> dict[str, Any]:
        until_ns = self._log.clock()
        span = {"since": rfc3339(fault.since_ns), "since_ns": fault.since_ns, "until_ns": until_ns}
        return {**span, "refused": fault.num_refused, "reason": fault.reason, "late": late}

    def _end_fault(self, fault: Fault) -> None:
        """Accept again, unless more was refused since the gap record was written: then the next probe says so."""
        with self._changed:
            if not fault.num_refused:
                self._fault = None
        if self._fault is None:
            self.num_gaps += 1
            logger.warning("vault: recording again")


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, MiniVaultError) else str(error)


def _closed() -> VaultUnavailable:
    return VaultUnavailable("the vault is closed")
