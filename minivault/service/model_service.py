"""ModelService: loads a model in a thread, runs the engine in that same thread, and guards its door.

States: `unloaded` → `loading` → `ready` | `failed`, and `draining` once the worker is told to stop. Admission is
counted here, under a lock, so that a full server says so at once whatever the engine is doing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from minivault.config import Settings
from minivault.errors import Draining, GenerationFailed, LoadFailed, Loading, MiniVaultError, Overloaded
from minivault.service.engine_loop import Call, Cancel, EngineLoop, Stop, Submit
from minivault.service.generation import Generation
from minivault.service.served import Backend, ServedModel, resolve_backend
from minivault.types import Event, Failed, Finished, FinishReason, Job

if TYPE_CHECKING:
    from minivault.engine import Engine
    from minivault.engine.grammar import GrammarCompiler

log = logging.getLogger("minivault.service")

State = Literal["unloaded", "loading", "ready", "failed", "draining"]
DRAIN_MARGIN_S = 5.0
"""Streams still open this long before the grace period ends are ended by us, with a proper last line."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    state: State
    reason: str
    running: int
    waiting: int
    stats: dict[str, int]


class ModelService:
    """One model and its engine thread. All public methods may be called from any thread."""

    def __init__(self, settings: Settings, backend: Backend | None = None) -> None:
        self._settings = settings
        self._backend = backend
        self._lock = threading.Lock()
        self._loaded = threading.Event()
        self._loop = EngineLoop(self._deliver, self._watch_drain)
        self._live: dict[str, Generation] = {}
        self._served: ServedModel | None = None
        self._engine: Engine | None = None
        self._grammars: GrammarCompiler | None = None
        self._grammars_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watchdog: threading.Timer | None = None
        self._state: State = "unloaded"
        self._reason = "the model is not loaded yet"
        self._delay_s = 0.0
        self._on_loaded: Callable[[], None] = lambda: None
        self._is_stopping: Callable[[], bool] = lambda: False
        self._drain_deadline: float | None = None

    # -- life -----------------------------------------------------------------------------------------------------

    def start(
        self,
        is_stopping: Callable[[], bool] = lambda: False,
        *,
        delay_s: float = 0.0,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin loading in the background, after `delay_s`; idempotent. `is_stopping` tells when the worker was asked
        to stop; `on_loaded` is called once loading has ended, well or not."""
        with self._lock:
            if self._thread is not None or self._state == "draining":
                return
            self._is_stopping = is_stopping
            self._state, self._reason = "loading", "the model is loading"
            self._delay_s, self._on_loaded = delay_s, on_loaded
            self._watchdog = threading.Timer(delay_s + self._settings.load_timeout_s, self._give_up_loading)
            self._watchdog.daemon = True
            self._watchdog.start()
            self._thread = threading.Thread(target=self._run, name="minivault-engine", daemon=True)
            self._thread.start()

    def wait_loaded(self, timeout_s: float | None = None) -> ServedModel:
        """Start if needed and block until the model is there. Raises LoadFailed, or Loading on timeout."""
        self.start()
        self._loaded.wait(timeout_s)
        return self.model

    def drain(self) -> None:
        """Refuse new jobs from now on and end the running ones when the grace period nears its end."""
        with self._lock:
            if self._drain_deadline is None:
                grace = self._settings.graceful_timeout_s
                self._drain_deadline = time.monotonic() + max(grace - DRAIN_MARGIN_S, grace / 2)
                self._state = "draining"

    def cancel_all(self, reason: FinishReason = "shutdown") -> None:
        """End every generation now."""
        with self._lock:
            job_ids = list(self._live)
        for job_id in job_ids:
            self._loop.post(Cancel(job_id, reason))

    def close(self, timeout_s: float = 5.0) -> None:
        """End every generation with `shutdown`, stop the thread and free the model."""
        with self._lock:
            # A thread that is still loading cannot hear; it dies with the process.
            thread, self._state = self._thread if self._served is not None else None, "draining"
            if self._watchdog is not None:
                self._watchdog.cancel()
        if thread is not None:
            self._loop.post(Stop())
            thread.join(timeout_s)

    # -- facts ----------------------------------------------------------------------------------------------------

    @property
    def model(self) -> ServedModel:
        """What is served. Raises Loading or LoadFailed while there is nothing to serve."""
        if self._served is not None:
            return self._served
        if self._state == "failed":
            raise LoadFailed(self._reason, retry_after_s=60)
        raise Loading(self._reason, retry_after_s=2)

    def status(self) -> ServiceStatus:
        with self._lock:
            num_live = len(self._live)
        running = min(num_live, self._settings.max_running)
        stats = self._engine.stats if self._engine is not None else {}
        return ServiceStatus(self._state, self._reason, running, num_live - running, dict(stats))

    # -- work -----------------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> Generation:
        """Queue a job. Raises Loading, LoadFailed, Draining or Overloaded at once, never after waiting, and
        BadRequest for a grammar that cannot be compiled."""
        job = self._constrained(job, self.model)
        generation = Generation(job, self._request_cancel, self._give_up_engine)
        with self._lock:
            if self._state == "draining":
                raise Draining("the server is stopping", retry_after_s=5)
            if len(self._live) >= self._settings.max_running + self._settings.max_waiting:
                raise Overloaded("every place is taken; try again shortly", retry_after_s=1)
            self._live[job.id] = generation
        self._loop.post(Submit(job))
        return generation

    def call(self, function: Callable[[ServedModel], Any]) -> Any:
        """Run `function(served)` on the engine thread between two steps and return its result."""
        _ = self.model
        result: Future[Any] = Future()
        self._loop.post(Call(function, result))
        return result.result(timeout=self._settings.deadline_s)

    def embed(self, batch: list[list[int]]) -> list[list[float]]:
        """Unit-length mean-pooled vectors, one for each token sequence."""
        return [self.call(partial(_embed, tokens)) for tokens in batch]

    def _constrained(self, job: Job, served: ServedModel) -> Job:
        """The job with the constraint that its grammar asks for."""
        if job.params.grammar is None or job.constraint is not None:
            return job
        from minivault.engine.grammar import GrammarCompiler

        with self._grammars_lock:  # its own: reading the vocabulary takes a moment, and events must flow
            if self._grammars is None:
                self._grammars = GrammarCompiler(served.tokenizer)
        return replace(job, constraint=self._grammars.compile(job.params.grammar))

    def _request_cancel(self, job_id: str, reason: FinishReason) -> None:
        self._loop.post(Cancel(job_id, reason))

    # -- the engine thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        loaded = self._load()
        if loaded is None:
            return
        served, engine = loaded
        try:
            self._loop.run(engine, served)
            served.runner.close()
        except Exception:
            log.exception("the engine failed")
            self._fail_all()

    def _load(self) -> tuple[ServedModel, Engine] | None:
        time.sleep(self._delay_s)
        started = time.monotonic()
        try:
            served, engine = self._build()
        except Exception as error:
            self._fail_loading(_one_line(error))
            return None
        with self._lock:
            self._served, self._engine = served, engine
            if self._state == "loading":
                self._state, self._reason = "ready", ""
        self._end_loading()
        log.info(
            "model %s ready in %.1f s (%s runner, caches of at most %d MB)",
            served.info.name,
            time.monotonic() - started,
            served.info.runner,
            served.runner.bytes_per_slot * served.runner.num_slots >> 20,
        )
        return served, engine

    def _build(self) -> tuple[ServedModel, Engine]:
        from minivault.engine import Engine

        backend = self._backend or resolve_backend(self._settings)
        served = backend(self._settings)
        engine = Engine(
            served.runner,
            served.tokenizer,
            max_running=self._settings.max_running,
            prefix_cache_bytes=self._settings.prefix_cache_mb << 20,
        )
        return served, engine

    def _end_loading(self) -> None:
        self._loaded.set()
        self._on_loaded()
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _give_up_loading(self) -> None:
        if not self._loaded.is_set():
            self._fail_loading(f"loading took longer than MINIVAULT_LOAD_TIMEOUT_S={self._settings.load_timeout_s:g}")

    def _fail_loading(self, reason: str) -> None:
        with self._lock:
            self._state, self._reason = "failed", reason
        self._end_loading()
        log.error("cannot load the model: %s", reason)

    def _deliver(self, job_id: str, event: Event) -> None:
        with self._lock:
            terminal = isinstance(event, Finished | Failed)
            generation = self._live.pop(job_id, None) if terminal else self._live.get(job_id)
        if generation is not None:
            generation.deliver(event)

    def _give_up_engine(self) -> None:
        """The engine thread hangs and cannot be stopped: this worker is of no use until it is replaced."""
        with self._lock:
            if self._state == "ready":
                self._state, self._reason = "failed", "the model stopped responding; restart the server"
                self._served = None
                log.error("the model stopped responding; this worker refuses requests until it is restarted")

    def _fail_all(self) -> None:
        """The engine broke outside any one sequence: nobody is left waiting, and readiness says why."""
        with self._lock:
            live, self._live = list(self._live.values()), {}
            self._state, self._reason = "failed", "the engine failed; restart the server"
            self._served = None
        for generation in live:
            generation.deliver(Failed(GenerationFailed("the engine failed")))

    def _watch_drain(self) -> None:
        if self._is_stopping():
            self.drain()
        if self._drain_deadline is not None and time.monotonic() >= self._drain_deadline:
            self.cancel_all("shutdown")


def _embed(tokens: list[int], served: ServedModel) -> list[float]:
    vector: list[float] = served.runner.embed(tokens).tolist()
    return vector


def _one_line(error: Exception) -> str:
    if isinstance(error, MiniVaultError):
        return error.message
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
