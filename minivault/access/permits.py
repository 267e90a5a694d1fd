"""How many generations one key or client has running on this machine, counted so that a crash cannot miscount.

A running generation holds the lock (flock) of one numbered file. The kernel drops the lock when the process dies,
however it dies, so no permit is ever lost and nothing needs repair. Files stay behind empty and are used again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path


class Permit:
    """The right to one generation, a context manager too. `give_back` is called once; without it there is no limit."""

    def __init__(self, give_back: Callable[[], object] | None) -> None:
        self._give_back = give_back
        self._lock = threading.Lock()
        self._is_released = False

    def __enter__(self) -> Permit:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> bool:
        """Give the permit back; True for the call that did, False for any after it."""
        with self._lock:
            if self._is_released:
                return False
            self._is_released = True
        if self._give_back is not None:
            self._give_back()
        return True


class Permits:
    """Permits in `directory`, at most `limit` at once for each holder, over all threads and processes."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self.limit = limit

    def acquire(self, who: str) -> Permit | None:
        """A permit for `who`, or None when all are taken. Never waits. Raises OSError when files cannot be made."""
        folder = self._directory / hashlib.sha256(who.encode()).hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(self.limit):
            descriptor = _lock(folder / str(number))
            if descriptor is not None:
                return Permit(partial(os.close, descriptor))
        return None


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
