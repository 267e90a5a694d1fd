"""LocalModel: a model computed in this process, by an engine on a thread of its own.

`start` returns at once; the model loads on the engine thread, which then runs the engine. Requests come from any
thread: they are rendered and encoded where they come from, and only token ids reach the engine.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from minivault.config import Settings
from minivault.errors import Draining, LoadFailed, Loading, MiniVaultError
from minivault.service.backends import Backend, resolve_backend
from minivault.service.decision import read_decision, read_relevance
from minivault.service.engine_loop import EngineLoop, Generation, ready_made
from minivault.service.labels import Labels
from minivault.service.model import Loaded, ModelStatus, State
from minivault.service.prompt import read_inputs, read_prompt, read_request
from minivault.service.shaping import shaped
from minivault.service.tokens import Tokens
from minivault.types import (
    EmbedTask,
    FinishReason,
    GenerateTask,
    GenerationRequest,
    Job,
    Measurement,
    MeasureTask,
    ModelInfo,
    Question,
    SamplingParams,
)

if TYPE_CHECKING:
    from minivault.engine import Engine
    from minivault.structured.grammar import GrammarCompiler

log = logging.getLogger("minivault.service")

DRAIN_MARGIN_S = 5.0
"""Streams still open this long before the grace period ends are ended by us, with a proper last line."""


class LocalModel:
    """One model and its engine thread: a `Model`. All public methods may be called from any thread."""

    def __init__(self, settings: Settings, backend: Backend | None = None) -> None:
        self._settings = settings
        self._backend = backend
        self._lock = threading.Lock()
        self._has_ended_loading = threading.Event()
        self._loop = EngineLoop(settings.max_running + settings.max_waiting, self._give_up_engine)
        self._loaded: Loaded | None = None
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
        """See `Model.start`."""
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

    def wait_loaded(self, timeout_s: float | None = None) -> ModelInfo:
        """See `Model.wait_loaded`."""
        self.start()
        self._has_ended_loading.wait(timeout_s)
        return self.info

    def drain(self) -> None:
        """Refuse new work from now on and end what runs when the grace period nears its end."""
        with self._lock:
            if self._drain_deadline is None:
                grace = self._settings.graceful_timeout_s
                self._drain_deadline = time.monotonic() + max(grace - DRAIN_MARGIN_S, grace / 2)
                self._state = "draining"

    def cancel_all(self, reason: FinishReason = "shutdown") -> None:
        """See `Model.cancel_all`."""
        self._loop.cancel_all(reason)

    def close(self, timeout_s: float = 5.0) -> None:
        """See `Model.close`."""
        with self._lock:
            # A thread that is still loading cannot hear; it dies with the process.
            thread, self._state = self._thread if self._loaded is not None else None, "draining"
            if self._watchdog is not None:
                self._watchdog.cancel()
        if thread is not None:
            self._loop.stop()
            thread.join(timeout_s)
        with self._grammars_lock:
            if self._grammars is not None:
                self._grammars.close()

    # -- facts ----------------------------------------------------------------------------------------------------

    @property
    def loaded(self) -> Loaded:
        """The model's parts. Raises Loading or LoadFailed while there are none."""
        if self._loaded is not None:
            return self._loaded
        if self._state == "failed":
            raise LoadFailed(self._reason, retry_after_s=60)
        raise Loading(self._reason, retry_after_s=2)

    @property
    def info(self) -> ModelInfo:
        """See `Model.info`."""
        return self.loaded.info

    @property
    def tokens(self) -> Tokens:
        """See `Model.tokens`."""
        return Tokens(self.loaded.tokenizer)

    def status(self) -> ModelStatus:
        """See `Model.status`."""
        num_live = self._loop.num_live
        engine = self._engine
        if engine is None:
            return ModelStatus(self._state, self._reason, 0, num_live, {})
        waiting = min(num_live, max(num_live - engine.max_running, engine.num_waiting))
        return ModelStatus(self._state, self._reason, num_live - waiting, waiting, engine.stats, engine.cache)

    # -- work -----------------------------------------------------------------------------------------------------

    def prepare(self, request: GenerationRequest) -> GenerateTask:
        """See `Model.prepare`."""
        self.start()
        loaded = self.loaded
        return read_request(request, loaded.tokenizer, loaded.info)

    def count(self, request: GenerationRequest) -> int:
        """See `Model.count`."""
        return len(read_prompt(request, self.loaded.tokenizer).tokens)

    def generate(self, task: GenerateTask, job_id: str, deadline_ns: int | None = None) -> Generation:
        """See `Model.generate`."""
        params, loaded = task.params, self.loaded
        job = Job(job_id, task.tokens, params, deadline_ns, is_patient=task.request.is_patient)
        if task.known_answer is not None:
            tokens = tuple(loaded.tokenizer.encode(task.known_answer, add_special=False))
            return ready_made(job, task.known_answer, tokens)
        if params.grammar is not None or params.calls is not None or params.thinking is not None:
            job = shaped(job, loaded.info, loaded.tokenizer, self._compiler)
        if self._state == "draining":
            raise Draining("the server is stopping", retry_after_s=5)
        return self._loop.submit(job)

    def prepare_embedding(self, inputs: Sequence[str | Sequence[int]], *, truncate: bool) -> EmbedTask:
        """See `Model.prepare_embedding`."""
        loaded = self.loaded
        return read_inputs(inputs, loaded.tokenizer, loaded.info, truncate=truncate)

    def embed(self, task: EmbedTask) -> list[list[float]]:
        """See `Model.embed`. Each input is one call on the engine thread, so that answers go on between them."""
        _, engine = self.loaded, self._engine
        assert engine is not None
        calls = [partial(engine.embed, tokens) for tokens in task.inputs]
        return [self._loop.call(call, self._settings.deadline_s).tolist() for call in calls]

    def prepare_decision(self, state: GenerationRequest, question: Question, num_orders: int) -> MeasureTask:
        """See `Model.prepare_decision`."""
        self.start()
        loaded = self.loaded
        return read_decision(state, question, num_orders, self._labels, loaded.tokenizer, loaded.info)

    def prepare_relevance(self, query: str, document: str) -> MeasureTask:
        """See `Model.prepare_relevance`."""
        self.start()
        loaded = self.loaded
        return read_relevance(query, document, loaded.tokenizer, loaded.info)

    def measure(self, measurement: Measurement, job_id: str, deadline_ns: int | None = None) -> Generation:
        """See `Model.measure`."""
        _ = self.loaded
        if self._state == "draining":
            raise Draining("the server is stopping", retry_after_s=5)
        params = SamplingParams(max_tokens=len(measurement.labels), temperature=0.0, seed=0)
        return self._loop.submit(Job(job_id, measurement.prompt, params, deadline_ns, labels=measurement.labels))

    @cached_property
    def _labels(self) -> Labels:
        return Labels(self.loaded.tokenizer)

    def _compiler(self) -> GrammarCompiler:
        from minivault.structured.grammar import GrammarCompiler

        with self._grammars_lock:  # its own: reading the vocabulary takes a moment, and events must flow
            if self._grammars is None:
                self._grammars = GrammarCompiler(self.loaded.tokenizer)
            return self._grammars

    # -- the engine thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        time.sleep(self._delay_s)
        try:
            loaded, engine = self._load()
        except Exception as error:
            self._fail_loading(_one_line(error))
            return
        try:
            self._loop.run(engine, self._watch_drain)
            loaded.runner.close()
        except Exception:
            log.exception("the engine failed")
            self._refuse("the engine failed; restart the server")
            self._loop.fail_all()

    def _load(self) -> tuple[Loaded, Engine]:
        from minivault.engine import Engine, sampler

        started = time.monotonic()
        sampler.load(self._settings.kernels_dir)
        loaded = (self._backend or resolve_backend(self._settings))(self._settings)
        tokenizer, runner = loaded.tokenizer, loaded.runner
        engine = Engine(
            runner,
            tokenizer,
            max_running=self._settings.max_running,
            prefix_cache_bytes=self._settings.prefix_cache_mb << 20,
        )
        info = replace(loaded.info, has_chat=tokenizer.has_chat_template, has_tools=tokenizer.has_chat_template)
        with self._lock:
            self._loaded, self._engine = replace(loaded, info=info), engine
            if self._state == "loading":
                self._state, self._reason = "ready", ""
        self._end_loading()
        took_s, what = time.monotonic() - started, "model %s ready in %.1f s (%s runner): %s"
        log.info(what, info.name, took_s, info.runner, _room(info, engine))
        return loaded, engine

    def _end_loading(self) -> None:
        self._has_ended_loading.set()
        self._on_loaded()
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _give_up_loading(self) -> None:
        if not self._has_ended_loading.is_set():
            self._fail_loading(f"loading took longer than MINIVAULT_LOAD_TIMEOUT_S={self._settings.load_timeout_s:g}")

    def _fail_loading(self, reason: str) -> None:
        with self._lock:
            self._state, self._reason = "failed", reason
        self._end_loading()
        log.error("cannot load the model: %s", reason)

    def _give_up_engine(self) -> None:
        """The engine thread hangs and cannot be stopped: this worker is of no use until it is replaced."""
        if self._state == "ready":
            self._refuse("the model stopped responding; restart the server")
            log.error("the model stopped responding; this worker refuses requests until it is restarted")

    def _refuse(self, reason: str) -> None:
        """From now on there is nothing to serve, and readiness says why."""
        with self._lock:
            self._state, self._reason = "failed", reason
            self._loaded = None

    def _watch_drain(self) -> None:
        if self._is_stopping():
            self.drain()
        if self._drain_deadline is not None and time.monotonic() >= self._drain_deadline:
            self.cancel_all("shutdown")


def _room(info: ModelInfo, engine: Engine) -> str:
    """What the model reads here, and what its cache holds."""
    more = f" ({info.context_setting} allows for more)" if info.context_setting else ", all that it can"
    cache = engine.cache
    return (
        f"it reads {info.context} tokens{more}; {cache['tokens']} tokens in {cache['bytes'] >> 20} MB for all answers"
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, MiniVaultError):
        return error.message
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
