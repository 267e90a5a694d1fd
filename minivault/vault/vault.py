"""The front door: one `Vault` per process, opened after the fork, closed before the end.

A request `begin`s an entry, waits for it to be durable before the first byte leaves, marks its progress, and `finish`es
it before the final line leaves. Nothing here depends on HTTP or on the engine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.vault.directory import ensure_directory
from minivault.vault.disk import Disk
from minivault.vault.entry import Entry, Opening, by_name, encode_opening
from minivault.vault.head import CHECKPOINTS
from minivault.vault.journal import Journal
from minivault.vault.log import Log
from minivault.vault.proof.receipt import Receipt, Receipts
from minivault.vault.record import Draft, Place
from minivault.vault.recover import Recovered, Regenerate, recover_journals
from minivault.vault.segments import ACTIVE
from minivault.vault.upkeep import Upkeep
from minivault.vault.writer import Sync, Work, Writer


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """Where the log stands and whether it can be written; `reason` says why not."""

    seq: int
    head: str
    bytes_free: int
    writable: bool
    reason: str = ""
    written_s: float = 0.0
    """When the log last grew, by its file; Unix seconds, 0 where there is none."""
    signed_s: float = 0.0
    num_open: int = 0
    """Entries of this process that are not in the log yet."""
    num_gaps: int = 0
    """Faults that this process has come out of."""


class Vault:
    """A process's way into the vault. Every method may be called from any thread."""

    def __init__(self, log: Log, journal: Journal, writer: Writer, upkeep: Upkeep) -> None:
        self.directory = log.directory
        self._log = log
        self._journal = journal
        self._writer = writer
        self._upkeep = upkeep
        self._receipts = Receipts(log.directory)

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        sync: Sync = "synced",
        segment_bytes: int = 64 << 20,
        start: Mapping[str, Any] | None = None,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
        vault: str = "",
        node: str = "",
    ) -> Vault:
        """Open the vault of `directory` for this process; call it after the fork.

        Raises VaultError where the directory can never hold a vault. One that merely cannot be written now is opened;
        `status` then says why it refuses, and it starts to accept by itself. With `vault` only the vault of that id is
        opened, and none is made. `node` is this machine's name among several.
        """
        with suppress(OSError):
            ensure_directory(directory, create=not vault)
        disk = disk or Disk()
        log = Log(directory, segment_bytes=segment_bytes, clock=clock, disk=disk, vault=vault, node=node)
        journal, upkeep = Journal(directory, log.boot, disk, ensure_same=log.ensure_same), Upkeep(log)
        writer = Writer(log, journal, upkeep, sync)
        writer.start([Work(draft=log.draft("start", {"sync": sync, "pid": os.getpid(), **(start or {})}))])
        return cls(log, journal, writer, upkeep)

    def begin(self, opening: Opening) -> Entry:
        """Accept an interaction; returns at once, `Entry.wait` says when its request is safe."""
        fields = {**by_name(opening), "boot": self._log.boot}
        opened = self._writer.submit(Work(opening.id, encode_opening(fields)))
        return Entry(fields, opened, self._writer, self._journal, self.receipt)

    def receipt(self, record: Mapping[str, Any]) -> Receipt | None:
        """What a client may keep of a record that stands in the log; None where it cannot be signed."""
        return self._receipts.sign(record, self._log.known_vault)

    def append_event(self, type_: str, fields: Mapping[str, Any], id_: str | None = None) -> Place:
        """Record something that is not an interaction (`read`, `auth_failed` …). Raises VaultUnavailable."""
        return self._writer.submit(Work(draft=self._log.draft(type_, dict(fields), id_))).result()

    def status(self) -> VaultStatus:
        fault, head = self._writer.fault, self._log.head
        try:
            disk = os.statvfs(self.directory)
            bytes_free = disk.f_bavail * disk.f_frsize
        except OSError:
            bytes_free = 0
        is_there = self._log.is_there()
        reason = fault.reason if fault else "" if is_there else f"{self.directory} was removed or replaced"
        return VaultStatus(
            head.seq,
            head.hash,
            bytes_free,
            fault is None and is_there,
            reason,
            written_s=_changed_s(self.directory / ACTIVE),
            signed_s=_changed_s(self.directory / CHECKPOINTS),
            num_open=self._journal.num_open,
            num_gaps=self._writer.num_gaps,
        )

    def take_commit_times(self) -> list[float]:
        """How many seconds each group of records took that was written since the last call."""
        times = self._writer.commits_s
        return [times.popleft() for _ in range(len(times))]

    def check_writable(self) -> None:
        """Raise VaultUnavailable while nothing can be recorded; the refusal is counted for the `gap` record."""
        self._writer.check_writable()

    def recover(self, regenerate: Regenerate | None = None) -> list[Recovered]:
        """Record as `interrupted` what dead processes left open; `regenerate` gives back what they had sent.

        Call it once the model is loaded. Raises VaultUnavailable; what is left then waits for the next call.
        """
        return recover_journals(self.directory, self._append_now, regenerate=regenerate)

    def _append_now(self, draft: Draft) -> Place:
        """Append a record and know where, also under `async`."""
        work = Work(draft=draft)
        self._writer.submit(work)
        return work.done.result()

    def close(self, timeout_s: float = 5.0) -> None:
        """Record the stop, commit what is queued and let go of the files. Entries left open stay in the journal."""
        if self._writer.stop(Work(draft=self._log.draft("stop", {"pid": os.getpid()})), timeout_s):
            self._upkeep.close(timeout_s)
            self._journal.close()
            self._log.close()


def _changed_s(path: Path) -> float:
    """When a file last changed, in Unix seconds; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
