"""Room: the memory that the models of one process share, and whose turn it is to be loaded into it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from minivault.errors import LoadFailed, Overloaded

RETRY_S = 5


class Guest(Protocol):
    """Who takes room."""

    need_bytes: int

    @property
    def is_in_memory(self) -> bool: ...

    @property
    def is_busy(self) -> bool:
        """Somebody uses it at this moment."""
        ...

    @property
    def used_at(self) -> float:
        """When it was last used, in seconds on one clock for all."""
        ...

    def unload(self, timeout_s: float) -> bool:
        """Go, once nobody uses it; False where somebody still does when the time is over."""
        ...


class Room:
    """`budget_bytes` for all guests together; None = as much as they like."""

    def __init__(self, budget_bytes: int | None = None) -> None:
        self.budget_bytes = budget_bytes
        self.is_stopping: Callable[[], bool] = lambda: False
        """Tells when the worker was asked to stop."""
        self._guests: list[Guest] = []
        self._turn = threading.Lock()

    def enter(self, guest: Guest) -> None:
        """One more that may want room."""
        self._guests.append(guest)

    @contextmanager
    def turn(self, until: float) -> Iterator[None]:
        """One at a time is loaded, the others wait until `until` on the monotonic clock. Raises Overloaded."""
        if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Overloaded("other models are being loaded; try again shortly", retry_after_s=RETRY_S)
        try:
            yield
        finally:
            self._turn.release()

    def make(self, guest: Guest, until: float) -> None:
        """See to it that there is room for a guest whose turn it is: whoever was used least recently goes first, those
        whom nobody uses before those who must end first what they do. Raises LoadFailed where it never fits, and
        Overloaded where nobody could go in time."""
        if self.budget_bytes is None:
            return
        if guest.need_bytes > self.budget_bytes:
            told = f"it needs {guest.need_bytes >> 20} MB of memory and MINIVAULT_MODELS_MB allows {self.budget_mb}"
            raise LoadFailed(told, retry_after_s=60)
        while self._taken() + guest.need_bytes > self.budget_bytes:
            others = [other for other in self._guests if other is not guest and other.is_in_memory]
            if not others or not min(others, key=_worth).unload(max(0.0, until - time.monotonic())):
                raise Overloaded("the models in memory are in use; try again shortly", retry_after_s=RETRY_S)

    @property
    def budget_mb(self) -> int:
        return (self.budget_bytes or 0) >> 20

    def _taken(self) -> int:
        return sum(guest.need_bytes for guest in self._guests if guest.is_in_memory)


def _worth(guest: Guest) -> tuple[bool, float]:
    return guest.is_busy, guest.used_at
