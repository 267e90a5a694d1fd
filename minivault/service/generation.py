"""One submitted job as its caller sees it: events to read, and a way to stop."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator

from minivault.errors import GenerationFailed
from minivault.types import Delta, Event, Failed, Finished, FinishReason, Job, Started, Timings, Usage

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
        self.deliver: Callable[[Event], None] = self._events.put
        """Called by the engine thread with each event."""

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Ask the engine to stop; the terminal event still comes. Safe from any thread, at any time, repeatedly."""
        self._cancel(self.job.id, reason)

    def events(self) -> Iterator[Event]:
        """Every event up to the terminal one. An engine that went silent past the deadline gives `Failed`."""
        deadline_ns, patience_s = self.job.deadline_ns, None
        while True:
            if deadline_ns is not None:
                patience_s = max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9) + HANG_GRACE_S
            try:
                event = self._events.get(timeout=patience_s)
            except queue.Empty:
                event = self._give_up()
            yield event
            if isinstance(event, Finished | Failed):
                return

    def _give_up(self) -> Failed:
        self.cancel()
        self._on_silence()
        return Failed(GenerationFailed("the model stopped responding; the server needs a restart"))


def ready_made(job: Job, text: str, tokens: tuple[int, ...]) -> Generation:
    """A generation whose answer is known: the same events, without the engine."""
    generation = Generation(job, lambda _id, _reason: None)
    generation.deliver(Started(len(job.prompt_tokens)))
    generation.deliver(Delta(text, tokens))
    generation.deliver(Finished("stop", Usage(len(job.prompt_tokens), len(tokens)), Timings()))
    return generation
