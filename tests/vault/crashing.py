"""A disk that remembers every call, and what would be left of it if the power failed after any of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from minivault.vault.disk import Disk

Loss = Literal["kept", "dropped", "cut"]
"""What becomes of writes that no sync covers: a killed process keeps them, a power cut drops them, or cuts them."""


class RecordingDisk(Disk):
    """The real disk, with a list of what was done: (call, file number or path, argument)."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._lock = threading.Lock()
        self._by_path: dict[Path, int] = {}
        self._by_fd: dict[int, int] = {}
        self._count = 0

    def note(self, *call: Any) -> None:
        """Add something that is no call, such as an acknowledgement."""
        with self._lock:
            self.calls.append(call)

    def open(self, path: Path, *, create: bool = True, exclusive: bool = False) -> int:
        with self._lock:
            fd = super().open(path, create=create, exclusive=exclusive)
            if path not in self._by_path:
                self._count += 1
                self._by_path[path] = self._count
                self.calls.append(("create", path, self._count))
            self._by_fd[fd] = self._by_path[path]
            return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        with self._lock:
            written = super().write(fd, data)
            self.calls.append(("write", self._by_fd[fd], bytes(data[:written])))
            return written

    def fdatasync(self, fd: int) -> None:
        with self._lock:
            super().fdatasync(fd)
            self.calls.append(("sync", self._by_fd[fd]))

    def ftruncate(self, fd: int, length: int) -> None:
        with self._lock:
            super().ftruncate(fd, length)
            self.calls.append(("truncate", self._by_fd[fd], length))

    def rename(self, old: Path, new: Path) -> None:
        with self._lock:
            super().rename(old, new)
            self._by_path[new] = self._by_path.pop(old)
            self.calls.append(("rename", old, new))

    def unlink(self, path: Path) -> None:
        with self._lock:
            super().unlink(path)
            self._by_path.pop(path, None)
            self.calls.append(("unlink", path))

    def fsync_directory(self, path: Path) -> None:
        with self._lock:
            super().fsync_directory(path)
            self.calls.append(("sync directory", path))


@dataclass
class _File:
    data: bytes = b""
    durable: bytes = b""


@dataclass
class Wreck:
    """The state of a directory after some of the calls."""

    files: dict[int, _File] = field(default_factory=dict)
    names: dict[Path, int] = field(default_factory=dict)
    durable_names: dict[Path, int] = field(default_factory=dict)
    notes: list[tuple[Any, ...]] = field(default_factory=list)

    def apply(self, call: tuple[Any, ...]) -> None:
        name, target, *rest = call
        if name == "create":
            self.names[target] = rest[0]
            self.files.setdefault(rest[0], _File())
        elif name == "write":
            self.files[target].data += rest[0]
        elif name == "truncate":
            self.files[target].data = self.files[target].data[: rest[0]]
        elif name == "sync":
            self.files[target].durable = self.files[target].data
        elif name == "rename":
            self.names[rest[0]] = self.names.pop(target)
        elif name == "unlink":
            self.names.pop(target, None)
        elif name == "sync directory":
            self._sync_names(target)
        else:
            self.notes.append(call)

    def _sync_names(self, directory: Path) -> None:
        kept = {path: number for path, number in self.durable_names.items() if path.parent != directory}
        self.durable_names = kept | {path: n for path, n in self.names.items() if path.parent == directory}

    def write_to(self, source: Path, target: Path, loss: Loss, cut: int) -> None:
        """Lay the files out in `target` as they would be found; `cut` places the cut in what was not synced."""
        names = self.names if loss == "kept" else self.durable_names
        target.mkdir(mode=0o700)
        for path, number in names.items():
            place = target / path.relative_to(source)
            place.parent.mkdir(mode=0o700, exist_ok=True)
            place.write_bytes(_left(self.files[number], loss, cut))
            place.chmod(0o600)


def _left(file: _File, loss: Loss, cut: int) -> bytes:
    if loss == "kept":
        return file.data
    if loss == "dropped" or not file.data.startswith(file.durable):
        return file.durable
    at_sector = (len(file.durable) // cut + 1) * cut
    return file.data[:at_sector]


def wrecks(calls: list[tuple[Any, ...]]) -> Iterator[Wreck]:
    """The state after each prefix of the calls; the same object each time."""
    wreck = Wreck()
    yield wreck
    for call in calls:
        wreck.apply(call)
        yield wreck
