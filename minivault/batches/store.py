"""What is known of each batch, and who is at work on it.

Of a batch that has not ended there are, beside its facts (`.json`): its requests (`.input`, a hard link, so that
deleting the uploaded file takes nothing from it) and `.open`, which a worker holds locked while it runs it: the kernel
lets go of that however the worker ends. `.cancel` is there once somebody has asked for its end. Only who holds the lock
writes the facts.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from minivault.batches.folder import Folder
from minivault.errors import BadRequest, NotFound
from minivault.vault.disk import open_plain
from minivault.wire.openai.batches import Batch, Counts, LineFault

PREFIX = "batch_"
OPEN, INPUT, CANCEL = ".open", ".input", ".cancel"
ABANDONED_S = 3600


@dataclass(frozen=True, slots=True)
class Kept:
    """A batch and whose it is: the key's id (None where none is needed), and from where it was asked for."""

    batch: Batch
    owner: str | None
    client: str = ""
    user_agent: str = ""


class Batches:
    """The batches of a folder."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def create(self, kept: Kept) -> Batch:
        """Begin a batch of an uploaded file. Raises NotFound where that has gone, OSError: then there is no batch."""
        batch = kept.batch
        source = self.folder.place(batch.input_file_id)
        try:
            os.link(source, self.folder.place(batch.id, INPUT))
            os.close(self.folder.disk.open(self.folder.place(batch.id, OPEN), exclusive=True))
            self.folder.write(batch.id, asdict(kept))
        except OSError as error:
            self._remove(batch.id, ".json", INPUT, OPEN)
            if isinstance(error, FileNotFoundError) and not source.exists():
                raise NotFound(f"there is no file {batch.input_file_id!r}", field="input_file_id") from None
            raise
        return batch

    def find(self, batch_id: str) -> Kept | None:
        """A batch, as far as anybody has written it down."""
        found = self.folder.read(batch_id) if batch_id.startswith(PREFIX) else None
        if found is None:
            return None
        facts = found["batch"]
        facts["counts"] = Counts(**facts["counts"])
        facts["faults"] = tuple(LineFault(**fault) for fault in facts["faults"])
        return Kept(Batch(**facts), found["owner"], found["client"], found["user_agent"])

    def get(self, batch_id: str, owner: str | None) -> Batch:
        """Raises NotFound, also for another's."""
        kept = self.find(batch_id)
        if kept is None or kept.owner != owner:
            raise NotFound(f"there is no batch {batch_id!r}", field="batch_id")
        batch, asked_at = kept.batch, self.cancel_asked_at(batch_id)
        if batch.has_ended or asked_at is None:
            return batch
        return replace(batch, status="cancelling", times={**batch.times, "cancelling": asked_at})

    def of_owner(self, owner: str | None) -> list[Batch]:
        """All batches of one owner, oldest first."""
        found = []
        for batch_id in self.folder.ids(PREFIX, ".json"):
            with suppress(NotFound):
                found.append(self.get(batch_id, owner))
        return found

    def cancel(self, batch_id: str, owner: str | None) -> Batch:
        """Ask for a batch's end. Raises NotFound, BadRequest for one that has ended, OSError."""
        batch = self.get(batch_id, owner)
        if batch.has_ended:
            raise BadRequest(f"the batch is {batch.status}: there is nothing to cancel", field="batch_id")
        os.close(self.folder.disk.open(self.folder.place(batch_id, CANCEL)))
        self.folder.disk.fsync_directory(self.folder.path)
        return self.get(batch_id, owner)

    def cancel_asked_at(self, batch_id: str) -> int | None:
        """When a batch's end was asked for, in seconds since 1970; None where it was not."""
        with suppress(FileNotFoundError):
            return int(self.folder.place(batch_id, CANCEL).stat().st_mtime)
        return None

    # -- for who runs them ----------------------------------------------------------------------------------------

    def unfinished(self) -> list[str]:
        """The ids of batches that have not ended, oldest first."""
        return self.folder.ids(PREFIX, OPEN)

    @contextmanager
    def claimed(self, batch_id: str) -> Iterator[Kept | None]:
        """The batch, which is then this process's to run; None where it is another's or has ended."""
        fd = _locked(self.folder.place(batch_id, OPEN))
        if fd is None:
            yield None
            return
        try:
            kept = self.find(batch_id)
            is_over = self._is_abandoned(fd) if kept is None else kept.batch.has_ended
            if is_over:  # a crash came before the rest
                self.clear(batch_id)
            yield None if is_over else kept
        finally:
            os.close(fd)

    def save(self, kept: Kept) -> None:
        """Write a claimed batch down. Raises OSError."""
        self.folder.write(kept.batch.id, asdict(kept))

    def requests(self, batch_id: str) -> IO[bytes]:
        """Its requests, as they were uploaded."""
        return os.fdopen(open_plain(self.folder.place(batch_id, INPUT)), "rb")

    def clear(self, batch_id: str) -> None:
        """Remove what only a batch that goes on needs."""
        self._remove(batch_id, INPUT, CANCEL, OPEN)

    def _remove(self, batch_id: str, *suffixes: str) -> None:
        for suffix in suffixes:
            self.folder.place(batch_id, suffix).unlink(missing_ok=True)

    def _is_abandoned(self, fd: int) -> bool:
        """Whether whoever began to create this batch will not come to its end."""
        return self.folder.now_s - os.fstat(fd).st_mtime > ABANDONED_S


def _locked(path: Path) -> int | None:
    """The descriptor of a file that is locked through it; None where there is no file or another holds the lock."""
    with suppress(FileNotFoundError):
        fd = open_plain(path, os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
        else:
            return fd
    return None
