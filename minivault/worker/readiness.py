"""Which workers of a server can serve, known to all of them.

All workers accept from one listener, and the kernel gives a connection to whoever asks first: one that is still loading
is idle and would ask first, only to refuse. So a worker that cannot serve takes no connections while another one can.
While none can, all take them: `/health` answers, and the reason is told.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

NUM_PLACES = 1024
_READY = 1


class Readiness:
    """Made in gunicorn's main process; its memory is shared with every worker forked from then on.

    A worker has a place by its `age`, gunicorn's running number. Places repeat after NUM_PLACES workers; a worker
    announces itself again and again, so that another's end does not hide it for long.
    """

    def __init__(self) -> None:
        self._places = mmap.mmap(-1, NUM_PLACES)

    def announce(self, age: int, *, is_ready: bool) -> None:
        """Called in a worker; and in the main process once the worker is gone."""
        self._places[age % NUM_PLACES] = _READY if is_ready else 0

    @property
    def is_any(self) -> bool:
        """True when some worker can serve."""
        return self._places.find(bytes([_READY]), 0) >= 0


class Standing:
    """One worker's part in it. `is_ready` tells whether it can serve at this moment."""

    def __init__(self, readiness: Readiness, age: int, is_ready: Callable[[], bool]) -> None:
        self._readiness, self._age, self._is_ready = readiness, age, is_ready
        self._has_left = False

    @property
    def is_ready(self) -> bool:
        is_ready = not self._has_left and self._is_ready()
        self._readiness.announce(self._age, is_ready=is_ready)
        return is_ready

    @property
    def may_accept(self) -> bool:
        """False while only others can serve."""
        return self.is_ready or not self._readiness.is_any

    def leave(self) -> None:
        """This worker is stopping: it takes no more connections."""
        self._has_left = True
        self._readiness.announce(self._age, is_ready=False)
