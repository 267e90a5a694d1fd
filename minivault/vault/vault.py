"""The front door: one `Vault` per process, opened after the fork, closed before the end.

A request `begin`s an entry, waits for it to be durable before the first byte leaves, marks its progress, and `finish`es
it before the final line leaves. Nothing here depends on HTTP or on the engine.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minivault.vault.directory import ensure_directory
from minivault.vault.disk import Disk
from minivault.vault.entry import Entry, Opening, opening_fields
from minivault.vault.journal import Journal
from minivault.vault.log import Log
from minivault.vault.proof.key import SigningKey, read_public
from minivault.vault.record import Draft, Place
from minivault.vault.recover import Recovered, Regenerate, recover_journals
from minivault.vault.upkeep import Upkeep
from minivault.vault.writer import Sync, Work, Writer

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """Where the log stands and whether it can be written; `reason` says why not."""

    seq: int
    head: str
    bytes_free: int
    writable: bool
    reason: str = ""


def boot_name(pid: int | None = None) -> str:
    """Which process of which boot: eight digits of the kernel's boot id and the process id."""
    try:
        boot_id = _BOOT_ID.read_text("ascii")[:8]
    except OSError:
        boot_id = uuid.uuid4().hex[:8]
    return f"{boot_id}-{os.getpid() if pid is None else pid}"


def open_log(
    directory: Path,
    *,
    segment_bytes: int = 64 << 20,
    clock: Callable[[], int] = time.time_ns,
    disk: Disk | None = None,
) -> Log:
    """The log of a directory for this process; the directory is looked at when it is first used."""
    disk = disk or Disk()

    def public_key(*, create: bool) -> str:
        if not create:
            return read_public(directory)
        return (SigningKey.load(directory) or SigningKey.create(directory, disk)).public

    return Log(directory, boot=boot_name(), segment_bytes=segment_bytes, public_key=public_key, disk=disk, clock=clock)


class Vault:
    """A process's way into the vault. Every method may be called from any thread."""

    def __init__(self, directory: Path, log: Log, journal: Journal, writer: Writer, upkeep: Upkeep, sync: Sync) -> None:
        self.directory = directory
        self._log = log
        self._journal = journal
        self._writer = writer
        self._upkeep = upkeep
        self._sync = sync
        self._pid = os.getpid()

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
    ) -> Vault:
        """Open the vault of `directory` for this process; call it after the fork.

        Raises VaultError where the directory can never hold a vault. One that merely cannot be written now is opened;
        `status` then says why it refuses, and it starts to accept by itself.
        """
        with suppress(OSError):
            ensure_directory(directory)
        disk = disk or Disk()
        log = open_log(directory, segment_bytes=segment_bytes, clock=clock, disk=disk)
        journal, upkeep = Journal(directory, log.boot, disk), Upkeep(log)
        writer = Writer(log, journal, sync=sync, after_commit=upkeep.after_commit)
        writer.start([Work(draft=log.draft("start", {"sync": sync, "pid": os.getpid(), **(start or {})}))])
        return cls(directory, log, journal, writer, upkeep, sync)

    def begin(self, opening: Opening) -> Entry:
        """Accept an interaction; returns at once, `Entry.wait` says when its request is safe."""
        fields = opening_fields(opening, self._log.boot)
        work = Work(entry=opening.id, opening=fields)
        self._queue(work)
        opened = _settled() if self._sync == "async" else work.done
        return Entry(fields, opened, self._close_entry, self._journal, self._log.boot)

    def append_event(self, type_: str, fields: Mapping[str, Any]) -> Place:
        """Record something that is not an interaction (`read`, `auth_failed` …). Raises VaultUnavailable."""
        draft = self._log.draft(type_, dict(fields))
        if self._sync != "async":
            return self._append_now(draft)
        self._queue(Work(draft=draft))
        return Place(0, "")

    def status(self) -> VaultStatus:
        fault, head = self._writer.fault, self._log.head
        try:
            disk = os.statvfs(self.directory)
            bytes_free = disk.f_bavail * disk.f_frsize
        except OSError:
            bytes_free = 0
        return VaultStatus(head.seq, head.hash, bytes_free, fault is None, fault.reason if fault else "")

    def check_writable(self) -> None:
        """Raise VaultUnavailable while nothing can be recorded; the refusal is counted for the `gap` record."""
        self._writer.check_writable()

    def recover(self, regenerate: Regenerate | None = None) -> list[Recovered]:
        """Record as `interrupted` what dead processes left open; `regenerate` gives back what they had sent.

        Call it once the model is loaded. Raises VaultUnavailable; what is left then waits for the next call.
        """
        return recover_journals(self.directory, self._append_now, regenerate=regenerate)

    def _append_now(self, draft: Draft) -> Place:
        work = Work(draft=draft)
        self._queue(work)
        return work.done.result()

    def close(self, timeout_s: float = 5.0) -> None:
        """Record the stop, commit what is queued and let go of the files. Entries left open stay in the journal."""
        self._writer.submit(Work(draft=self._log.draft("stop", {"pid": os.getpid()})))
        if self._writer.stop(timeout_s):
            self._upkeep.close(timeout_s)
            self._journal.close()
            self._log.close()

    def _close_entry(self, id_: str, draft: Draft) -> Work:
        work = Work(entry=id_, draft=draft)
        self._queue(work)
        return Work(done=_settled()) if self._sync == "async" else work

    def _queue(self, work: Work) -> None:
        if os.getpid() != self._pid:
            raise RuntimeError("a vault is opened after the fork: this one belongs to another process")
        self._writer.submit(work)


def _settled() -> Future[Place]:
    done: Future[Place] = Future()
    done.set_result(Place(0, ""))
    return done
