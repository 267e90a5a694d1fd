"""A disk on which any call can be made to fail, as a parameter of the vault and not a patch of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minivault.vault.disk import Disk


@dataclass
class Fault:
    """What goes wrong with one kind of call: an errno, or a short write first; `times` None = until healed."""

    call: str
    error: int = errno.EIO
    file: str = ""
    times: int | None = None
    short: int | None = None
    num_hits: int = 0


class FaultyDisk(Disk):
    """A real disk until told otherwise."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.before: Callable[[str], None] = lambda _call: None

    def break_(self, call: str, error: int = errno.EIO, **options: object) -> Fault:
        self.faults.append(Fault(call, error, **options))  # type: ignore[arg-type]
        return self.faults[-1]

    def heal(self) -> None:
        self.faults.clear()

    def _hit(self, call: str, name: str) -> Fault | None:
        self.before(call)
        for fault in self.faults:
            if fault.call == call and fault.file in name and fault.times != 0:
                fault.times = None if fault.times is None else fault.times - 1
                fault.num_hits += 1
                return fault
        return None

    def _check(self, call: str, name: str) -> None:
        fault = self._hit(call, name)
        if fault is not None:
            raise OSError(fault.error, os.strerror(fault.error), name)

    def open(self, path: Path, *, create: bool = True, exclusive: bool = False) -> int:
        self._check("open", path.name)
        return super().open(path, create=create, exclusive=exclusive)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        fault = self._hit("write", name_of(fd))
        if fault is None:
            return super().write(fd, data)
        if fault.short is None:
            raise OSError(fault.error, os.strerror(fault.error))
        written = super().write(fd, data[: fault.short])
        fault.short = None if fault.error else fault.short
        return written

    def fdatasync(self, fd: int) -> None:
        self._check("fdatasync", name_of(fd))
        super().fdatasync(fd)

    def ftruncate(self, fd: int, length: int) -> None:
        self._check("ftruncate", name_of(fd))
        super().ftruncate(fd, length)

    def rename(self, old: Path, new: Path) -> None:
        self._check("rename", old.name)
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self._check("unlink", path.name)
        super().unlink(path)


def name_of(fd: int) -> str:
    """The name of the file behind a descriptor, `journal/` before it for a journal."""
    path = Path(f"/proc/self/fd/{fd}").readlink()
    return f"journal/{path.name}" if path.parent.name == "journal" else path.name
