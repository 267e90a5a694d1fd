"""The few system calls the vault depends on, behind one object, so that a test can make each of them fail or remember.

Everything that writes in the vault goes through a `Disk`: what reaches the platter, and in which order, is then exactly
the list of calls made here. Paths are never followed through a symlink, descriptors never leak into a child.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC


def open_plain(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file: a pipe or a device in its place neither blocks nor is read. Raises OSError."""
    fd = os.open(path, flags | _SAFE | os.O_NONBLOCK, FILE_MODE)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file", str(path))


class Disk:
    """The real thing. Everything may raise OSError."""

    write = staticmethod(os.write)
    fdatasync = staticmethod(os.fdatasync)
    ftruncate = staticmethod(os.ftruncate)
    close = staticmethod(os.close)

    def open(self, path: Path, *, create: bool = True, exclusive: bool = False) -> int:
        """A descriptor for reading and appending; with `exclusive` the file must be new."""
        flags = os.O_RDWR | os.O_APPEND
        flags |= os.O_CREAT if create or exclusive else 0
        flags |= os.O_EXCL if exclusive else 0
        return open_plain(path, flags)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def fsync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _SAFE)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def write_all(self, fd: int, data: bytes) -> None:
        """One write of everything, repeated only after a short write."""
        view = memoryview(data)
        while view:
            view = view[self.write(fd, view) :]

    def replace(self, path: Path, data: bytes) -> None:
        """Put a whole small file at `path`, durably: either the old bytes or the new ones are ever there."""
        temporary = path.with_name(path.name + ".tmp")
        temporary.unlink(missing_ok=True)
        fd = self.open(temporary, exclusive=True)
        try:
            self.write_all(fd, data)
            self.fdatasync(fd)
        finally:
            self.close(fd)
        self.rename(temporary, path)
        self.fsync_directory(path.parent)
