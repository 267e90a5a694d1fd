"""One submitted job as its caller sees it: events to read, and a way to stop."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator

from minivault.errors import GenerationFailed
from minivault.types import Event, Failed, Finished, FinishReason, Job

HANG_GRACE_S = 10.0
"""How long after its own deadline a job may stay silent before its caller gives the engine up."""


class Generation:
    """The caller's half of a job. Events are read once, in order; the last is `Finished` or `Failed`."""

    def __init__(
        self, job: Job, cancel: Callable[[str, FinishReason], None], on_silence: Callable[[], None] = lambda: None
    ) -> None:
        self.job = job
        self._cancel = cancel
        self._on_silence = on_silence
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def deliver(self, event: Event) -> None:
        """Called by the engine thread."""
        self._events.put(event)

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Ask the engine to stop; the terminal event still comes. Safe from any thread, at any time, repeatedly."""
        self._cancel(self.job.id, reason)

    def events(self) -> Iterator[Event]:
        """Every event up to the terminal one. An engine that went silent past the deadline gives `Failed`."""
        while True:
            event = self._next()
            yield event
            if isinstance(event, Finished | Failed):
                return

    def _next(self) -> Event:
        try:
            return self._events.get(timeout=self._patience_s())
        except queue.Empty:
            self.cancel()
            self._on_silence()
            return Failed(GenerationFailed("the model stopped responding; the server needs a restart"))

    def _patience_s(self) -> float | None:
        if self.job.deadline_ns is None:
            return None
        return max(0.0, (self.job.deadline_ns - time.monotonic_ns()) / 1e9) + HANG_GRACE_S
