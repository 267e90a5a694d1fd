"""The chained log: appending records under the lock, whoever else appends, rotates or crashes meanwhile.

`append` gives records their places and hands them to the kernel in one write; `sync` makes what this process wrote
durable. Everything else about the files follows from looking at them under the lock: a torn tail is isolated, a new
segment is started, the head others moved is read again. A failed write is taken back, so that it leaves nothing.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from minivault.errors import VaultError
from minivault.vault.directory import Lock, ensure_directory, is_same_file
from minivault.vault.disk import Disk
from minivault.vault.head import Head, ensure_continued, read_head
from minivault.vault.proof.key import SigningKey, read_public
from minivault.vault.record import Draft, Place, digest, draft, seal
from minivault.vault.segments import ACTIVE, sealed_name, sealed_segments, segments, summarize, vault_id

SEGMENT_AGE_NS = 24 * 3600 * 10**9
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_name(node: str = "") -> str:
    """Which process of which boot: eight digits of the kernel's boot id and the process id; where the machine has a
    name among others, that and a dot before them."""
    try:
        boot_id = _BOOT_ID.read_text("ascii")[:8]
    except OSError:
        boot_id = uuid.uuid4().hex[:8]
    return f"{node}.{boot_id}-{os.getpid()}" if node else f"{boot_id}-{os.getpid()}"


class Log:
    """One process's hold on the log; the directory is looked at when it is first used.

    From then on, or from the start where `vault` is given, it is known by the vault's id and by its head: a directory
    that holds anything else, the bare place of a mount that is gone or another vault, is not written in.

    Not thread-safe: the writer thread or one command uses it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = 64 << 20,
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
        vault: str = "",
        node: str = "",
    ) -> None:
        self.directory = directory
        self.boot = boot_name(node)
        self.disk = disk or Disk()
        self.clock = clock
        self.num_rotations = 0
        self._segment_bytes = segment_bytes
        self._path = directory / ACTIVE
        self._lock: Lock | None = None
        self._fd: int | None = None
        self._unsynced: set[int] = set()
        self._vault_id = vault
        self._is_reopened = False
        self.head = Head()

    def append(self, drafts: Sequence[Draft]) -> list[Place]:
        """Append records in order, as one write. Raises OSError or VaultError and then has appended nothing."""
        with self.locked():
            return self.append_locked(drafts)

    def look(self) -> Head:
        """The head, once the directory has shown that it is the one that is known. Raises VaultError, OSError."""
        with self.locked():
            return self.refresh()

    def settle_locked(self) -> Head:
        """Write what has to stand before the next record, so that its seq is known: the head's plus one."""
        self.append_locked([])
        return self.head

    def append_locked(self, drafts: Sequence[Draft]) -> list[Place]:
        """`append` for a caller that holds the lock."""
        head = self.refresh()
        if self._is_due(head):
            head = self._rotate(head)
        if head.torn and not head.seq:
            head = self._restart(head)
        opening = self._opening(head)
        prefix = b"\n" if head.is_unterminated else b""
        lines, places = _chain(head, [*opening, *drafts])
        self._write(prefix + b"".join(lines), head, places)
        return places[len(opening) :]

    def sync(self) -> None:
        """Make everything this process appended durable. Raises OSError; then nothing unsynced may be believed."""
        for fd in list(self._unsynced):
            self.disk.fdatasync(fd)
            self._unsynced.discard(fd)
            if fd != self._fd:
                self.disk.close(fd)

    def sync_all(self) -> None:
        """Make the active segment durable, whoever wrote in it; the caller holds the lock. Raises OSError."""
        self.sync()
        self.disk.fdatasync(self._require_fd())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock. Raises OSError when the directory is gone or is another one."""
        if self._lock is None:  # a directory that was there and is gone is a fault, not a reason to start afresh
            self.ensure_same()
            ensure_directory(self.directory, create=not self._vault_id)
            self._lock = Lock(self.directory, self.disk)
        with self._lock.held():
            yield

    def refresh(self) -> Head:
        """Look at the file under the lock: the head, wherever others have moved it."""
        if self._fd is None or not is_same_file(self._path, self._fd):
            self._attach()
        fd = self._require_fd()
        size = os.fstat(fd).st_size
        if size != self.head.size or self.head.seq == 0:
            head = read_head(self.directory, fd, size, self.head)
            if self._is_reopened and head.seq > self.head.seq:
                ensure_continued(self.directory, self.head)
            self.head, self._is_reopened = head, False
            self._vault_id = self._vault_id or vault_id(self.directory)
        return self.head

    def ensure_same(self) -> None:
        """Raise VaultError, OSError where the directory holds something else than the vault that is known."""
        found = vault_id(self.directory) if self._vault_id else ""
        if found != self._vault_id:
            holds = f"vault {found}" if found else "no vault"
            raise VaultError(f"{self.directory} holds {holds}, not {self._vault_id}; is a mount missing?")

    def is_there(self) -> bool:
        """Whether the directory is still the one that was opened, as far as that is known; costs two `stat`s."""
        lock = self._lock
        try:
            return lock is None or lock.is_in_place()
        except OSError:  # closed meanwhile
            return False

    def rewrite(self) -> None:
        """After a failed sync: copy what this process wrote to fresh files and make those durable. Raises OSError.

        The kernel may have marked the lost pages clean, so syncing the old files again would prove nothing.
        """
        with self.locked():
            self.refresh()
            for segment in segments(self.directory):
                mine = any(is_same_file(segment.path, fd) for fd in self._unsynced)
                if segment.is_active or (mine and not segment.is_compressed):
                    self.disk.replace(segment.path, segment.path.read_bytes())
            self._discard_unsynced()

    def reopen(self) -> None:
        """Forget every descriptor after a fault; the next append opens them again."""
        self.close()
        self.head, self._is_reopened = replace(self.head, size=-1), True

    def close(self) -> None:
        self._discard_unsynced()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _discard_unsynced(self) -> None:
        for fd in self._unsynced | ({self._fd} if self._fd is not None else set()):
            self.disk.close(fd)
        self._unsynced.clear()
        self._fd = None

    def _attach(self) -> None:
        if self._fd is not None and self._fd not in self._unsynced:
            self.disk.close(self._fd)
        self._fd = None
        is_new = not self._path.exists()
        self._fd = self.disk.open(self._path)
        self.head = replace(self.head, size=-1)
        if is_new:
            self.disk.fsync_directory(self.directory)

    def _require_fd(self) -> int:
        if self._fd is None:
            raise VaultError("the log is closed")
        return self._fd

    def _is_due(self, head: Head) -> bool:
        if head.torn or head.is_unterminated or not head.first_seq or head.seq == head.first_seq:
            return False
        return head.size >= self._segment_bytes or self.clock() - head.born_ns >= SEGMENT_AGE_NS

    def _rotate(self, head: Head) -> Head:
        fd = self._require_fd()
        self.disk.fdatasync(fd)
        self._unsynced.discard(fd)
        target = self.directory / sealed_name(head.first_seq)
        if target.exists() or target.with_name(target.name + ".gz").exists():
            raise VaultError(f"{target.name} is there already; a segment is never replaced")
        self.disk.rename(self._path, target)
        self.disk.close(fd)
        self._fd = None
        self._fd = self.disk.open(self._path, exclusive=True)
        self.disk.fsync_directory(self.directory)
        self.num_rotations += 1
        self.head = replace(head, size=0, first_seq=0, born_ns=0)
        return self.head

    def _restart(self, head: Head) -> Head:
        """Clear what a crash left of the very first write, which nothing was ever built on."""
        if head.torn.strip(b"\0") and not head.torn.startswith(b'{"type":"genesis"'):
            raise VaultError(f"{ACTIVE} holds something else than a log; move it away")
        self.disk.ftruncate(self._require_fd(), 0)
        self.head = Head()
        return self.head

    def _opening(self, head: Head) -> list[Draft]:
        """The records that have to stand before anything else: about a torn tail, and at the start of a file."""
        drafts = []
        if head.torn:
            torn = head.torn.removesuffix(b"\n")
            fields = {"torn_bytes": len(torn), "torn_sha256": digest(torn)}
            drafts.append(self.draft("recovered", fields))
        if head.seq == 0:
            key = SigningKey.load(self.directory) or SigningKey.create(self.directory, self.disk)
            drafts.append(self.draft("genesis", {"vault": str(uuid.uuid4()), "public_key": key.public}))
        elif head.first_seq == 0:
            drafts.append(self.draft("segment", self._segment_fields(head)))
        return drafts

    def _segment_fields(self, head: Head) -> dict[str, Any]:
        sealed = sealed_segments(self.directory)
        identity = {"vault": self.vault_id(), "public_key": read_public(self.directory)}
        end = {"last_seq": head.seq, "last_hash": head.hash}
        if not sealed:
            return {**identity, "previous": None, **end}
        summary = summarize(sealed[-1])
        return {**identity, "previous": summary.name, "lines": summary.lines, **end, "sha256": summary.sha256}

    @property
    def known_vault(self) -> str:
        """The id of the vault that has been written in; empty before. Reads nothing."""
        return self._vault_id

    def vault_id(self) -> str:
        """The id that the genesis record gave, and every `segment` record repeats; empty before there is one."""
        self._vault_id = self._vault_id or vault_id(self.directory)
        return self._vault_id

    def draft(self, type_: str, fields: dict[str, Any], id_: str | None = None) -> Draft:
        """A record of this process, made now; its id is a new one where none is given."""
        return draft(type_, self.clock(), self.boot, fields, id_=id_)

    def _write(self, data: bytes, head: Head, places: Sequence[Place]) -> None:
        fd = self._require_fd()
        self._unsynced.add(fd)
        try:
            self.disk.write_all(fd, data)
        except OSError:
            self._take_back(fd, head)
            raise
        self._vault_id = self._vault_id or vault_id(self.directory)
        last = places[-1] if places else Place(head.seq, head.hash)
        self.head = Head(
            seq=last.seq,
            hash=last.hash,
            size=head.size + len(data),
            first_seq=head.first_seq or places[0].seq,
            born_ns=head.born_ns or self.clock(),
        )

    def _take_back(self, fd: int, head: Head) -> None:
        """Undo a partial write while nobody else can have appended; a tail that stays is isolated by the next."""
        try:
            self.disk.ftruncate(fd, head.size)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EPERM):
                raise
            self.head = replace(self.head, size=-1)


def _chain(head: Head, drafts: Sequence[Draft]) -> tuple[list[bytes], list[Place]]:
    lines, places = [], []
    seq, prev = head.seq, head.hash
    for record in drafts:
        sealed = seal(record, seq + 1, prev)
        lines.append(sealed.line)
        places.append(sealed.place)
        seq, prev = sealed.place.seq, sealed.place.hash
    return lines, places
