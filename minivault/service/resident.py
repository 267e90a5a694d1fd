"""Resident: a model in memory or not; it is loaded when it is asked for, and stays for as long as there is room.

While somebody uses it, or an answer runs, it stays. Between that it may go, to make room for another or because nobody
has asked for it for so long, and comes back with the next request, which waits for it.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from minivault.config import Settings
from minivault.errors import Draining, Loading, Overloaded, Unavailable
from minivault.service.backends import Backend, resolve_backend
from minivault.service.engine_thread import RETRY_FAILED_S, RETRY_LOADING_S, EngineThread
from minivault.service.model import ModelStatus, State
from minivault.service.room import Room
from minivault.types import FinishReason, ModelInfo

log = logging.getLogger("minivault.service")

LOOK_S = 0.02
"""How often one that is to go looks whether its answers have ended."""


class Resident:
    """`known` is what a model's files say of it, and `need_bytes` what it takes of the `room` that it shares. `clock`
    gives seconds. All public methods may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend | None = None,
        room: Room | None = None,
        *,
        known: ModelInfo | None = None,
        need_bytes: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.need_bytes = need_bytes
        self._settings, self._backend, self._clock = settings, backend, clock
        self._room = room or Room()
        self._known = known
        self._keep_s = settings.keep_alive_s
        self._changed = threading.Condition()
        self._engine: EngineThread | None = None
        self._num_users = self._num_waiting = 0
        self._used_at = self._failed_at = float("-inf")
        self._has_started = self._is_first = self._is_going = self._is_draining = False
        self._room.enter(self)

    # -- life -----------------------------------------------------------------------------------------------------

    def start(
        self,
        is_stopping: Callable[[], bool] | None = None,
        *,
        delay_s: float = 0.0,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """See `Model.start`. All that share the room stop when `is_stopping` says so."""
        with self._changed:
            if self._has_started or self._is_draining:
                return
            if is_stopping is not None:
                self._room.is_stopping = is_stopping
            self._is_first = True
            self._begin(delay_s, on_loaded)

    def wait_loaded(self, timeout_s: float | None = None) -> ModelInfo:
        """See `Model.wait_loaded`."""
        self.start()
        if (engine := self._engine) is None:
            self.ensure_loaded()
            return self.info
        engine.wait(timeout_s)
        return engine.loaded.info

    def ensure_loaded(self, deadline_ns: int | None = None) -> None:
        """See `Model.ensure_loaded`."""
        if (engine := self._engine) is None or self._is_going or engine.state != "ready":
            with self.using(deadline_ns):
                pass

    def keep(self, seconds: float | None) -> None:
        """See `Model.keep`."""
        self._keep_s = self._settings.keep_alive_s if seconds is None else seconds

    def unload(self, timeout_s: float = 0.0) -> bool:
        """Give its memory back once nobody uses it; False where somebody still does when the time is over. Whoever
        comes meanwhile waits until it is loaded again."""
        until = time.monotonic() + timeout_s
        with self._changed:
            engine, self._is_going = self._engine, True
            try:
                if engine is None or not self._await_idle(engine, until) or self._engine is not engine:
                    return self._engine is None
                if self._is_draining or engine.state == "failed":  # one that broke is not trusted again
                    return False
                self._engine = None
            finally:
                self._is_going = False
        engine.close()
        del engine
        _give_memory_back()
        log.info("model %s unloaded", self.info.name)
        return True

    def drain(self) -> None:
        """Refuse new work from now on and end what runs when the grace period nears its end."""
        with self._changed:
            self._is_draining = True
            if self._engine is not None:
                self._engine.drain()

    def cancel_all(self, reason: FinishReason = "shutdown") -> None:
        """See `Model.cancel_all`."""
        if (engine := self._engine) is not None:
            engine.cancel_all(reason)

    def close(self, timeout_s: float = 5.0) -> None:
        """See `Model.close`."""
        with self._changed:
            self._is_draining, engine = True, self._engine
        if engine is not None:
            engine.close(timeout_s)

    # -- facts ----------------------------------------------------------------------------------------------------

    @property
    def info(self) -> ModelInfo:
        """See `Model.info`."""
        if self._known is not None:
            return self._known
        if (engine := self._engine) is None:
            raise Loading("the model is not loaded yet", retry_after_s=RETRY_LOADING_S)
        return engine.loaded.info

    def status(self) -> ModelStatus:
        """See `Model.status`."""
        if (engine := self._engine) is None:
            return ModelStatus(self._state_without, "the model is not loaded", 0, self._num_waiting, {})
        found, left_s = engine.status(), None
        if self._keep_s >= 0:
            left_s = self._keep_s if self.is_busy else max(0.0, self._used_at + self._keep_s - self._clock())
        return replace(found, waiting=found.waiting + self._num_waiting, goes_in_s=left_s)

    @property
    def is_in_memory(self) -> bool:
        return (engine := self._engine) is not None and not engine.could_not_load

    @property
    def is_busy(self) -> bool:
        """Somebody uses it at this moment."""
        return self._num_users > 0 or ((engine := self._engine) is not None and engine.num_live > 0)

    @property
    def used_at(self) -> float:
        """When it was last used, in seconds on its clock."""
        return self._used_at

    # -- in and out of memory -------------------------------------------------------------------------------------

    @contextmanager
    def using(self, deadline_ns: int | None = None) -> Iterator[EngineThread]:
        """The engine, which stays while this is held, loaded first where it is not there. `deadline_ns` is on the
        monotonic clock. Raises Loading, LoadFailed, Draining or Overloaded."""
        engine = self._taken() or self._awaited(deadline_ns)
        try:
            yield engine
        finally:
            with self._changed:
                self._num_users -= 1
                self._used_at = self._clock()

    def _taken(self) -> EngineThread | None:
        """The engine where it is there to be used; None where one has to wait for it. Raises where waiting is vain."""
        with self._changed:
            engine = self._engine
            if engine is not None and engine.state == "ready" and not self._is_going:
                self._num_users += 1
                return engine
            if engine is not None and engine.could_not_load and self._clock() - self._failed_at > RETRY_FAILED_S:
                engine = self._engine = None
            if engine is None or self._is_going:
                if self._state_without == "draining":
                    raise Draining("the server is stopping", retry_after_s=5)
                return None
            if engine.state == "loading" and not self._is_first:
                return None
            _ = engine.loaded
            self._num_users += 1
            return engine

    def _awaited(self, deadline_ns: int | None) -> EngineThread:
        """Load it in its turn, once there is room."""
        until = time.monotonic() + self._settings.deadline_s if deadline_ns is None else deadline_ns / 1e9
        with self._in_line(), self._room.turn(until):
            while (engine := self._taken()) is None:
                self._load(until)
            return engine

    def _load(self, until: float) -> None:
        if self._engine is None:
            self._room.make(self, until)
            with self._changed:
                self._is_first = False
                self._begin()
        if (engine := self._engine) is not None and not engine.wait(max(0.0, until - time.monotonic())):
            raise Loading("the model is still loading; try again", retry_after_s=RETRY_LOADING_S)

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        """No more wait for a model to be loaded than wait for one that is."""
        with self._changed:
            if self._num_waiting >= self._settings.max_running + self._settings.max_waiting:
                raise Overloaded("every place is taken; try again shortly", retry_after_s=1)
            self._num_waiting += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_waiting -= 1

    def _await_idle(self, engine: EngineThread, until: float) -> bool:
        """Called with the condition held, which is given up meanwhile."""
        while self._num_users or engine.num_live or engine.state == "loading":
            left_s = until - time.monotonic()
            if left_s <= 0:
                return False
            self._changed.wait(min(left_s, LOOK_S))
        return True

    def _begin(self, delay_s: float = 0.0, on_loaded: Callable[[], None] = lambda: None) -> None:
        """Called with the condition held."""
        self._has_started = True
        backend = self._backend or resolve_backend(self._settings)
        self._engine = EngineThread(self._settings, backend, self._room.is_stopping, self._look)
        self._engine.start(delay_s, partial(self._has_ended_loading, self._engine, on_loaded))

    def _has_ended_loading(self, engine: EngineThread, on_loaded: Callable[[], None]) -> None:
        with suppress(Unavailable):
            self._known = engine.loaded.info
        self._used_at = self._failed_at = self._clock()
        on_loaded()

    def _look(self) -> None:
        """Called by the engine's own thread, which cannot wait for its own end."""
        if self.is_busy:
            self._used_at = self._clock()
        elif 0 <= self._keep_s <= self._clock() - self._used_at and not self._is_going:
            threading.Thread(target=self.unload, name="minivault-unload", daemon=True).start()

    @property
    def _state_without(self) -> State:
        """What it is doing while there is no engine."""
        if self._is_draining or self._room.is_stopping():
            return "draining"
        return "resting" if self._has_started else "unloaded"


def _give_memory_back() -> None:
    from minivault.engine.host import give_memory_back

    gc.collect()
    give_memory_back()
