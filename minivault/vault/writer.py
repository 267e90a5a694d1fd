"""The one thread of a process that writes in the vault, and what it does when it cannot.

It drains a bounded queue and commits whatever has gathered as one batch (group commit): journal entries and records
are written, synced, and only then acknowledged. When a commit fails, everything in it is refused and so is everything
after, at once, until a probe succeeds; the first thing written then is what is still owed and a `gap` record that says
how much was refused, since when and why. Nothing is dropped silently, and no failed fsync is believed later: the
segment is copied to a fresh file first.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from minivault.errors import MiniVaultError, VaultUnavailable
from minivault.types import rfc3339
from minivault.vault.journal import Journal
from minivault.vault.log import Log
from minivault.vault.record import Draft, Place

Sync = Literal["synced", "written", "async"]
PROBE_S = 0.25
_QUEUE_LENGTH = 1024
_PUT_TIMEOUT_S = 5.0
_BATCH = 256

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Work:
    """One thing to commit: a journal entry (`opening`) or a record (`draft`). `entry` is the interaction's id."""

    entry: str | None = None
    opening: dict[str, Any] | None = None
    draft: Draft | None = None
    done: Future[Place] = field(default_factory=Future)


@dataclass(slots=True)
class Fault:
    """Why the vault refuses, since when, and how many times it has."""

    reason: str
    since_ns: int
    num_refused: int = 0


class Writer:
    """Owns the log and the journal of this process. `submit` is thread-safe; the rest runs on its thread."""

    def __init__(
        self,
        log: Log,
        journal: Journal,
        *,
        sync: Sync,
        after_commit: Callable[[int, int], None] = lambda _records, _rotations: None,
        probe_s: float = PROBE_S,
    ) -> None:
        self._log = log
        self._journal = journal
        self._sync = sync
        self._after_commit = after_commit
        self._probe_s = probe_s
        self._queue: queue.Queue[Work | None] = queue.Queue(_QUEUE_LENGTH)
        self._state = threading.Lock()
        self._fault: Fault | None = None
        self._owed: list[Work] = []
        self._unsure: list[Work] = []
        self._is_stopped = False
        self._thread = threading.Thread(target=self._run, name="vault-writer", daemon=True)

    def start(self, first: Sequence[Work]) -> None:
        """Commit `first` on this thread, so that its outcome is known, then start the writer thread."""
        self._turn(list(first))
        self._thread.start()

    @property
    def fault(self) -> Fault | None:
        return self._fault

    def submit(self, work: Work) -> None:
        """Queue work; its future fails with VaultUnavailable at once while the vault refuses."""
        if self._refuses(work):
            return
        if self._is_stopped:
            work.done.set_exception(VaultUnavailable("the vault is closed"))
            return
        try:
            self._queue.put(work, timeout=_PUT_TIMEOUT_S)
        except queue.Full:
            work.done.set_exception(VaultUnavailable("the vault's queue is full; try again in a moment"))

    def check_writable(self) -> None:
        """Raise VaultUnavailable while the vault refuses; that counts as one refusal."""
        work = Work()
        if self._refuses(work):
            work.done.result()

    def stop(self, timeout_s: float) -> bool:
        """Commit what is queued and end the thread; False where that took longer than `timeout_s`."""
        self._is_stopped = True
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._queue.put(None, timeout=timeout_s)
            self._thread.join(timeout_s)
        while not self._queue.empty():  # came in just before the end: open in the journal, so not lost
            late = self._queue.get()
            if late is not None and not late.done.done():
                late.done.set_exception(VaultUnavailable("the vault is closed"))
        return not self._thread.is_alive()

    def _refuses(self, work: Work) -> bool:
        with self._state:
            fault = self._fault
            if fault is None or (work.entry and work.draft):  # an accepted interaction is still owed its record
                return False
            fault.num_refused += 1
        work.done.set_exception(_refusal(fault.reason))
        return True

    def _run(self) -> None:
        while True:
            batch, is_last = self._take()
            self._turn(batch)
            if is_last:
                return

    def _turn(self, batch: list[Work]) -> None:
        """Commit a batch, or refuse it and probe. The writer outlives every error: it reports and refuses."""
        try:
            if self._fault is None:
                self._commit(batch)
            else:
                self._refuse(batch)
                self._probe(self._fault)
        except Exception as error:
            if not isinstance(error, (OSError, MiniVaultError)):
                logger.exception("the vault's writer failed")
            self._enter_fault(_reason(error))
            self._refuse(batch)

    def _take(self) -> tuple[list[Work], bool]:
        """What has gathered, waiting for something; nothing after a while during a fault, to probe."""
        batch: list[Work] = []
        try:
            item = self._queue.get(timeout=self._probe_s if self._fault else None)
            while item is not None:
                batch.append(item)
                if len(batch) >= _BATCH:
                    return batch, False
                item = self._queue.get_nowait()
        except queue.Empty:
            return batch, False
        return batch, True

    def _commit(self, batch: list[Work]) -> None:
        entries = [(work.entry, work.opening) for work in batch if work.entry and work.opening is not None]
        records = [work for work in batch if work.draft is not None]
        places = self._write(entries, records)
        self._journal.done([work.entry for work in records if work.entry])
        places = dict(zip(map(id, records), places, strict=True))
        for work in batch:
            work.done.set_result(places.get(id(work), Place(0, "")))
        if records:
            self._after_commit(len(records), self._log.num_rotations)

    def _write(self, entries: list[tuple[str, dict[str, Any]]], records: list[Work]) -> list[Place]:
        if entries:
            for _, opening in entries:
                opening["after"] = self._log.head.seq
            self._journal.write(entries)
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

    def _refuse(self, batch: list[Work]) -> None:
        """Fail what is pending in a batch; records of accepted interactions stay owed to the log."""
        fault = self._fault or Fault("", 0)
        for work in batch:
            if work.done.done():
                continue
            if work.entry and work.draft:
                self._owed += [work] if work not in self._unsure else []
            else:
                with self._state:
                    fault.num_refused += 1
                self._journal.done([work.entry] if work.entry else [])
            work.done.set_exception(_refusal(fault.reason))

    def _enter_fault(self, reason: str) -> None:
        with self._state:
            if self._fault is None:
                logger.error("vault: refusing every answer: %s", reason)
                self._fault = Fault(reason, self._log.clock())
            self._fault.reason = reason

    def _probe(self, fault: Fault) -> None:
        """Try to write what is owed and a gap record; success ends the fault. Raises what is still wrong."""
        self._journal.forget()
        self._journal.probe()
        if self._unsure:
            self._log.rewrite()
        self._log.reopen()
        num_told, late = fault.num_refused, [work.entry for work in (*self._unsure, *self._owed) if work.entry]
        gap = self._log.draft("gap", self._gap_fields(fault, late))
        self._log.append([*(work.draft for work in self._owed if work.draft), gap])
        self._unsure, self._owed = [*self._unsure, *self._owed], []
        with self._state:
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
        with self._state:
            if not fault.num_refused:
                self._fault = None
        if self._fault is None:
            logger.warning("vault: recording again")


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, MiniVaultError) else str(error)


def _refusal(reason: str) -> VaultUnavailable:
    return VaultUnavailable(f"the answer cannot be recorded, so it is not given: {reason}")
