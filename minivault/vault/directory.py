"""Whether a directory may hold a vault, and the one lock in it.

Refused: a network file system (appends of several writers may overlap there), a directory that others may write in, and
a symlink (it can be pointed elsewhere while we run).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minivault.errors import VaultError
from minivault.vault.disk import DIRECTORY_MODE, Disk

LOCK = "log.lock"
_NETWORK = {  # statfs(2): f_type
    0x6969: "NFS",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x517B: "SMB",
    0x01021997: "9P",
    0x5346414F: "AFS",
    0x00C36400: "Ceph",
    0x47504653: "GPFS",
    0x0BD00BD0: "Lustre",
    0x7461636F: "OCFS2",
    0x73757245: "Coda",
}


def ensure_directory(directory: Path, *, create: bool = True) -> None:
    """Create the directory, or check that it is fit for a vault, and make it private. Raises VaultError, OSError."""
    if directory.is_symlink():
        raise VaultError(f"{directory} is a symlink; give the vault its real directory")
    if create and not directory.exists():
        directory.mkdir(mode=DIRECTORY_MODE, parents=True)
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise VaultError(f"{directory} is not a directory")
    if status.st_mode & stat.S_IWOTH:
        raise VaultError(f"{directory} is writable by everybody; run `chmod 700 {directory}`")
    network = network_name(filesystem_type(directory))
    if network:
        raise VaultError(f"{directory} is on {network}, where records may be lost; the vault needs a local disk")
    if stat.S_IMODE(status.st_mode) != DIRECTORY_MODE and status.st_uid == os.getuid():
        directory.chmod(DIRECTORY_MODE)


def network_name(type_: int) -> str | None:
    """The name of a network file system by its statfs type, None for a local one."""
    return _NETWORK.get(type_ & 0xFFFFFFFF)


def filesystem_type(path: Path) -> int:
    """`f_type` of statfs(2), which Python's `os.statvfs` leaves out; 0 where it cannot be had."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_long * 32)()  # struct statfs is 15 to 20 longs; f_type is the first
    if not hasattr(libc, "statfs") or libc.statfs(os.fsencode(path), buffer):
        return 0
    return int(buffer[0])


class Lock:
    """`log.lock`: held for every append, rotation, redaction and prune. Belongs to the process that made it."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._path = directory / LOCK
        self._fd = disk.open(self._path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock. Raises OSError when the directory is no longer the one that was opened."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            if not self.is_in_place():
                raise FileNotFoundError(f"{self._path} was removed or replaced")
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def is_in_place(self) -> bool:
        """Whether the directory is still the one that was opened."""
        return is_same_file(self._path, self._fd)

    def close(self) -> None:
        os.close(self._fd)


def is_same_file(path: Path, fd: int) -> bool:
    """Whether `path` still names the file behind `fd`."""
    try:
        there = path.stat(follow_symlinks=False)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)
