"""Files that were uploaded to be batches, and those that batches have made.

A file is there once its facts are, which are written last; it belongs to the key that it was uploaded with.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from minivault.batches.folder import Folder
from minivault.errors import NotFound, TooLarge
from minivault.vault.disk import Disk, open_plain
from minivault.wire.openai.batches import FileObject, Purpose

PREFIX = "file-"
PART = ".part"
ABANDONED_S = 3600
"""A part that nobody has written to for so long is a dead upload's."""


class Upload(io.RawIOBase):
    """A file that is coming in, at most `limit` bytes long. It is nobody's until `Files.keep` has taken it."""

    def __init__(self, id_: str, path: Path, disk: Disk, limit: int) -> None:
        self.id = id_
        self.path = path
        self.num_bytes = 0
        self._disk = disk
        self._limit = limit
        self._fd = disk.open(path, exclusive=True)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        """Raises TooLarge, OSError."""
        piece = bytes(data)
        self.num_bytes += len(piece)
        if self.num_bytes > self._limit:
            raise TooLarge(f"the file is larger than {self._limit >> 20} MiB (MINIVAULT_MAX_FILE_MB)")
        self._disk.write_all(self._fd, piece)
        return len(piece)

    def seek(self, offset: int, whence: int = 0) -> int:  # noqa: ARG002 - whoever has parsed a form rewinds
        return 0

    def sync(self) -> None:
        self._disk.fdatasync(self._fd)

    def discard(self) -> None:
        """Forget it, unless it has been kept."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if not self.closed:
            os.close(self._fd)
        super().close()


class Files:
    """The files of a folder. `owner` is a key's id, None where the server needs no key."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def begin(self, limit: int) -> Upload:
        """A place for a file of at most `limit` bytes. Raises OSError."""
        self._folder.ensure()
        id_ = self._folder.new_id(PREFIX)
        return Upload(id_, self._folder.place(id_, PART), self._folder.disk, limit)

    def keep(self, upload: Upload, owner: str | None, filename: str) -> FileObject:
        """Make an upload a file, durably. Raises OSError: then there is none."""
        upload.sync()
        self._folder.disk.rename(upload.path, self._folder.place(upload.id))
        try:
            return self.announce(upload.id, owner, filename, "batch")
        except OSError:
            self._folder.place(upload.id, ".json").unlink(missing_ok=True)
            self._folder.place(upload.id).unlink(missing_ok=True)
            raise

    def announce(self, file_id: str, owner: str | None, filename: str, purpose: Purpose) -> FileObject:
        """Write down the facts of a file whose bytes are there. Raises OSError."""
        size = self._folder.place(file_id).stat().st_size
        file = FileObject(file_id, filename, purpose, size, self._folder.now_s)
        self._folder.write(file_id, {"owner": owner, **asdict(file)})
        return file

    def get(self, file_id: str, owner: str | None) -> FileObject:
        """Raises NotFound, also for another's."""
        found = self._folder.read(file_id) if file_id.startswith(PREFIX) else None
        if found is None or found.pop("owner") != owner:
            raise NotFound(f"there is no file {file_id!r}", field="file_id")
        return FileObject(**found)

    def open(self, file_id: str, owner: str | None) -> IO[bytes]:
        """The bytes of a file. Raises NotFound."""
        self.get(file_id, owner)
        with suppress(FileNotFoundError):
            return os.fdopen(open_plain(self._folder.place(file_id)), "rb")
        raise NotFound(f"there is no file {file_id!r}", field="file_id")

    def of_owner(self, owner: str | None, purpose: str | None = None) -> list[FileObject]:
        """All files of one owner, oldest first."""
        found = []
        for file_id in self._folder.ids(PREFIX, ".json"):
            with suppress(NotFound):
                found.append(self.get(file_id, owner))
        return [file for file in found if purpose in (None, file.purpose)]

    def delete(self, file_id: str, owner: str | None) -> None:
        """Remove a file for good; a batch that was made of it has its own. Raises NotFound, OSError."""
        self.get(file_id, owner)
        self._folder.place(file_id, ".json").unlink(missing_ok=True)
        self._folder.place(file_id).unlink(missing_ok=True)
        self._folder.disk.fsync_directory(self._folder.path)

    def num_uploaded_bytes(self) -> int:
        """Of all owners."""
        found = map(self._folder.read, self._folder.ids(PREFIX, ".json"))
        return sum(facts["bytes"] for facts in found if facts is not None and facts["purpose"] == "batch")

    def sweep(self, clock: Callable[[], float] = time.time) -> None:
        """Remove what dead uploads have left."""
        for path in self._folder.path.glob(f"{PREFIX}*{PART}"):
            with suppress(FileNotFoundError):
                if clock() - path.stat().st_mtime > ABANDONED_S:
                    path.unlink()
