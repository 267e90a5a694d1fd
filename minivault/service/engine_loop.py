"""The engine thread's loop, and both ends of what passes between it and the threads that ask.

Messages are how other threads reach the single-threaded engine; they are applied between two steps. Each submitted job
has a `Generation`, from which its events are read.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from minivault.errors import GenerationFailed, MiniVaultError, Overloaded
from minivault.types import Delta, Event, Failed, Finished, FinishReason, Job, Started, Timings, Usage

if TYPE_CHECKING:
    from minivault.engine import Engine

HANG_GRACE_S = 10.0
"""How long after its own deadline a job may stay silent before its caller gives the engine up."""
LOOK_S = 0.2
"""How often the loop looks whether the worker is stopping."""


@dataclass(frozen=True, slots=True)
class Submit:
    job: Job


@dataclass(frozen=True, slots=True)
class Cancel:
    job_id: str
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Call:
    function: Callable[[], Any]
    result: Future[Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """Cancel everything with `shutdown`, hand out the last events, leave the loop."""


Message = Submit | Cancel | Call | Stop


class Generation:
    """The caller's half of a job. Events are read once, in order; the last is `Finished` or `Failed`."""

    is_elsewhere: ClassVar[bool] = False
    """An engine elsewhere answers: what it says cannot be computed again here."""

    def __init__(
        self, job: Job, cancel: Callable[[str, FinishReason], None], on_silence: Callable[[], None] = lambda: None
    ) -> None:
        self.job = job
        self._cancel = cancel
        self._on_silence = on_silence
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.deliver: Callable[[Event], None] = self._events.put
        """Called by the engine thread with each event."""
        self.told: Mapping[str, Any] = {}
        """What an engine elsewhere said of this answer, for the record."""

    def cancel(self, reason: FinishReason = "cancelled") -> None:
        """Ask the engine to stop; the terminal event still comes. Safe from any thread, at any time, repeatedly."""
        self._cancel(self.job.id, reason)

    def events(self) -> Iterator[Event]:
        """Every event up to the terminal one."""
        for batch in self.batches():
            yield from batch

    def batches(self) -> Iterator[list[Event]]:
        """The same, those together that have come together; a `Started` is the first of its batch, the terminal one is
        alone. An engine that went silent past the deadline gives `Failed`."""
        deadline_ns, patience_s, text = self.job.deadline_ns, None, list[str]()
        while True:
            if deadline_ns is not None:
                patience_s = max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9) + HANG_GRACE_S
            batch = self._next(patience_s)
            for event in batch:
                if isinstance(event, Delta):
                    text.append(event.text)
            last = batch[-1]
            if not isinstance(last, Finished | Failed):
                yield batch
                continue
            if batch[:-1]:
                yield batch[:-1]
            yield [self.checked(last, "".join(text))]
            return

    def _next(self, patience_s: float | None) -> list[Event]:
        """What has come, once something has."""
        try:
            batch = [self._events.get(timeout=patience_s)]
            while not self._events.empty():
                batch.append(self._events.get())
        except queue.Empty:
            batch = [self._give_up()]
        return batch

    def checked(self, last: Finished | Failed, text: str) -> Finished | Failed:
        """The end of an answer; one that breaks what it was to keep to has failed, and never stopped."""
        if self.job.constraint is None or isinstance(last, Failed) or last.reason != "stop":
            return last
        fault = self.job.constraint.fault(text)
        if fault is None:
            return last
        error = GenerationFailed(f"the answer does not keep to its schema: {fault}")
        return Failed(error, last.usage, last.timings)

    def _give_up(self) -> Failed:
        self.cancel()
        self._on_silence()
        return Failed(GenerationFailed("the model stopped responding; if that lasts, the server needs a restart"))


def ready_made(job: Job, text: str, tokens: tuple[int, ...]) -> Generation:
    """A generation whose answer is known: the same events, without the engine."""
    generation = Generation(job, lambda _id, _reason: None)
    generation.deliver(Started(len(job.prompt_tokens)))
    generation.deliver(Delta(text, tokens))
    generation.deliver(Finished("stop", Usage(len(job.prompt_tokens), len(tokens)), Timings()))
    return generation


class EngineLoop:
    """`run` is the engine thread; everything else may be called from any. At most `capacity` jobs at once; `on_silence`
    is called when the engine says nothing about a job long after its deadline."""

    def __init__(self, capacity: int, on_silence: Callable[[], None]) -> None:
        self._capacity = capacity
        self._on_silence = on_silence
        self._lock = threading.Lock()
        self._live: dict[str, Generation] = {}
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._look_at = 0.0

    @property
    def num_live(self) -> int:
        return len(self._live)

    def submit(self, job: Job) -> Generation:
        """Queue a job. Raises Overloaded when every place is taken."""
        generation = Generation(job, self.cancel, self._on_silence)
        with self._lock:
            if len(self._live) >= self._capacity:
                raise Overloaded("every place is taken; try again shortly", retry_after_s=1)
            self._live[job.id] = generation
        self._inbox.put(Submit(job))
        return generation

    def cancel(self, job_id: str, reason: FinishReason) -> None:
        self._inbox.put(Cancel(job_id, reason))

    def cancel_all(self, reason: FinishReason) -> None:
        with self._lock:
            job_ids = list(self._live)
        for job_id in job_ids:
            self.cancel(job_id, reason)

    def call(self, function: Callable[[], Any], timeout_s: float) -> Any:
        """Run `function` on the engine thread between two steps and return its result."""
        result: Future[Any] = Future()
        self._inbox.put(Call(function, result))
        return result.result(timeout=timeout_s)

    def stop(self) -> None:
        self._inbox.put(Stop())

    def fail_all(self) -> None:
        """The engine broke outside any one sequence: nobody is left waiting."""
        with self._lock:
            live, self._live = list(self._live.values()), {}
        for generation in live:
            generation.deliver(Failed(GenerationFailed("the engine failed")))

    def run(self, engine: Engine, look: Callable[[], None]) -> None:
        """Until `stop`. Raises what the engine raises outside any one sequence. `look` is called every LOOK_S."""
        while self._apply_waiting(engine):
            if time.monotonic() >= self._look_at:
                self._look_at = time.monotonic() + LOOK_S
                look()
            if engine.has_work:
                self._deliver(engine.step())
        with self._lock:
            job_ids = list(self._live)
        for job_id in job_ids:
            engine.cancel(job_id, "shutdown")
        while engine.has_work:
            self._deliver(engine.step())

    def _apply_waiting(self, engine: Engine) -> bool:
        """Apply every waiting message; block briefly when there is nothing else to do. False: stop."""
        wait = not engine.has_work
        while True:
            try:
                message = self._inbox.get(wait, LOOK_S)
            except queue.Empty:
                return True
            wait = False
            if isinstance(message, Stop):
                return False
            self._apply(engine, message)

    def _apply(self, engine: Engine, message: Submit | Cancel | Call) -> None:
        if isinstance(message, Cancel):
            engine.cancel(message.job_id, message.reason)
        elif isinstance(message, Submit):
            try:
                engine.submit(message.job)
            except MiniVaultError as error:
                self._deliver([(message.job.id, Failed(error))])
        elif message.result.set_running_or_notify_cancel():
            try:
                message.result.set_result(message.function())
            except Exception as error:
                message.result.set_exception(error)

    def _deliver(self, events: list[tuple[str, Event]]) -> None:
        for job_id, event in events:
            generation = self._live.get(job_id)
            if generation is None:
                continue
            if isinstance(event, Finished | Failed):
                with self._lock:
                    self._live.pop(job_id, None)
            generation.deliver(event)
