"""What a batch has given so far: a line for each request that is done, durable before it counts as done.

The two files are the whole truth about what is done; what a crash left unfinished at their ends is cut off.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from minivault.vault.disk import Disk
from minivault.wire.openai.batches import Counts, count_usage


class Results:
    """The output and the errors of one batch, for the one process that runs it."""

    def __init__(self, output: Path, errors: Path, total: int, disk: Disk) -> None:
        self.counts = Counts(total=total)
        self.done = set[str]()
        """The `custom_id`s of requests that are done."""
        self._disk = disk
        self._lock = threading.Lock()
        self._fds = {False: disk.open(output), True: disk.open(errors)}
        try:
            disk.fsync_directory(output.parent)
            self._sizes = {is_error: self._take_in(fd, is_error=is_error) for is_error, fd in self._fds.items()}
        except BaseException:
            self.close()
            raise

    def add(self, entry: dict[str, Any], *, is_error: bool) -> None:
        """Keep a line, durably. Raises OSError: then it is not there."""
        data = json.dumps(entry).encode() + b"\n"
        with self._lock:
            fd, size = self._fds[is_error], self._sizes[is_error]
            try:
                self._disk.write_all(fd, data)
                self._disk.fdatasync(fd)
            except OSError:
                self._disk.ftruncate(fd, size)
                raise
            self._sizes[is_error] = size + len(data)
            self._count(entry, is_error=is_error)

    def is_empty(self, *, is_error: bool) -> bool:
        return self._sizes[is_error] == 0

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)

    def _take_in(self, fd: int, *, is_error: bool) -> int:
        """Count what is there, cut off what is no whole line, and return the size."""
        size = 0
        with os.fdopen(os.dup(fd), "rb") as file:
            for line in file:
                entry = _whole(line)
                if entry is None:
                    self._disk.ftruncate(fd, size)
                    break
                size += len(line)
                self._count(entry, is_error=is_error)
        return size

    def _count(self, entry: dict[str, Any], *, is_error: bool) -> None:
        self.done.add(entry["custom_id"])
        if is_error:
            self.counts = count_usage(self.counts, {}, failed=1)
        else:
            self.counts = count_usage(self.counts, entry["response"]["body"], completed=1)


def _whole(line: bytes) -> dict[str, Any] | None:
    """A line as it was written; None for one that was not written to its end."""
    try:
        entry: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return entry if line.endswith(b"\n") else None
