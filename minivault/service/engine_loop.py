"""The loop of the engine thread: apply messages, take a step, hand out events, again.

Messages are how other threads reach the single-threaded engine; they are applied between two steps.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minivault.errors import MiniVaultError
from minivault.service.served import ServedModel
from minivault.types import Event, Failed, FinishReason, Job

if TYPE_CHECKING:
    from minivault.engine import Engine

IDLE_POLL_S = 0.2
"""How often an idle loop looks whether the worker is stopping."""


@dataclass(frozen=True, slots=True)
class Submit:
    job: Job


@dataclass(frozen=True, slots=True)
class Cancel:
    job_id: str
    reason: FinishReason


@dataclass(frozen=True, slots=True)
class Call:
    function: Callable[[ServedModel], Any]
    result: Future[Any]


@dataclass(frozen=True, slots=True)
class Stop:
    """Cancel everything with `shutdown`, hand out the last events, leave the loop."""


Message = Submit | Cancel | Call | Stop


class EngineLoop:
    """`post` may be called from any thread; `run` is the engine thread. `deliver` takes each (job id, event), and
    `each_turn` is called at every turn of the loop, at least every IDLE_POLL_S."""

    def __init__(self, deliver: Callable[[str, Event], None], each_turn: Callable[[], None]) -> None:
        self._deliver = deliver
        self._each_turn = each_turn
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def post(self, message: Message) -> None:
        self._inbox.put(message)

    def run(self, engine: Engine, served: ServedModel) -> None:
        """Until `Stop`. Raises what the engine raises outside any one sequence."""
        job_ids: set[str] = set()
        while self._apply_waiting(engine, served, job_ids):
            self._each_turn()
            self._step(engine, job_ids)
        for job_id in job_ids:
            engine.cancel(job_id, "shutdown")
        while engine.has_work:
            self._step(engine, set())

    def _apply_waiting(self, engine: Engine, served: ServedModel, job_ids: set[str]) -> bool:
        """Apply every waiting message; block briefly when there is nothing else to do. False: stop."""
        wait = not engine.has_work
        while True:
            try:
                message = self._inbox.get(timeout=IDLE_POLL_S) if wait else self._inbox.get_nowait()
            except queue.Empty:
                return True
            wait = False
            if isinstance(message, Stop):
                return False
            if isinstance(message, Submit):
                job_ids.add(message.job.id)
            self._apply(engine, served, message)

    def _apply(self, engine: Engine, served: ServedModel, message: Submit | Cancel | Call) -> None:
        if isinstance(message, Cancel):
            engine.cancel(message.job_id, message.reason)
        elif isinstance(message, Submit):
            try:
                engine.submit(message.job)
            except MiniVaultError as error:
                self._deliver(message.job.id, Failed(error))
        elif message.result.set_running_or_notify_cancel():
            try:
                message.result.set_result(message.function(served))
            except Exception as error:
                message.result.set_exception(error)

    def _step(self, engine: Engine, job_ids: set[str]) -> None:
        if not engine.has_work:
            job_ids.clear()
            return
        for job_id, event in engine.step():
            self._deliver(job_id, event)
