"""EngineThread: a model's stay in memory, from its loading to its end, on a thread of its own.

`start` returns at once; the model loads on the thread, which then runs the engine. It is begun once: a model that is
loaded again gets another one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from minivault.config import Settings
from minivault.errors import Draining, LoadFailed, Loading, MiniVaultError
from minivault.service.backends import Backend
from minivault.service.engine_loop import EngineLoop, Generation
from minivault.service.labels import Labels
from minivault.service.marking import mark_of, marking
from minivault.service.model import Loaded, ModelStatus, State
from minivault.types import FinishReason, Job, ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from minivault.engine import Engine
    from minivault.structured.grammar import GrammarCompiler

log = logging.getLogger("minivault.service")

DRAIN_MARGIN_S = 5.0
"""Streams still open this long before the grace period ends are ended by us, with a proper last line."""
RETRY_LOADING_S, RETRY_FAILED_S = 2, 60


class EngineThread:
    """`is_stopping` tells when the worker was asked to stop; `look` is called several times a second once the model is
    loaded. All public methods may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        is_stopping: Callable[[], bool] = lambda: False,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._backend = backend
        self._is_stopping = is_stopping
        self._look = look
        self._lock = threading.Lock()
        self._has_ended_loading = threading.Event()
        self._loop = EngineLoop(settings.max_running + settings.max_waiting, self._give_up_engine)
        self._loaded: Loaded | None = None
        self._silent: Loaded | None = None
        self._engine: Engine | None = None
        self._grammars: GrammarCompiler | None = None
        self._grammars_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._watchdog: threading.Timer | None = None
        self.state: State = "unloaded"
        self._reason = "the model is not loaded yet"
        self._delay_s = 0.0
        self._on_loaded: Callable[[], None] = lambda: None
        self._drain_deadline: float | None = None
        self._has_loaded = False

    # -- life -----------------------------------------------------------------------------------------------------

    def start(self, delay_s: float = 0.0, on_loaded: Callable[[], None] = lambda: None) -> None:
        """Begin loading after `delay_s`; idempotent. `on_loaded` is called once loading has ended, well or not."""
        with self._lock:
            if self._thread is not None or self.state == "draining":
                return
            self.state, self._reason = "loading", "the model is loading"
            self._delay_s, self._on_loaded = delay_s, on_loaded
            self._watchdog = threading.Timer(delay_s + self._settings.load_timeout_s, self._give_up_loading)
            self._watchdog.daemon = True
            self._watchdog.start()
            self._thread = threading.Thread(target=self._run, name="minivault-engine", daemon=True)
            self._thread.start()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until loading has ended, well or not; False where it has not in time."""
        return self._has_ended_loading.wait(timeout_s)

    def drain(self) -> None:
        """Refuse new work from now on and end what runs when the grace period nears its end."""
        with self._lock:
            if self._drain_deadline is None:
                grace = self._settings.graceful_timeout_s
                self._drain_deadline = time.monotonic() + max(grace - DRAIN_MARGIN_S, grace / 2)
                self.state = "draining"

    def cancel_all(self, reason: FinishReason = "shutdown") -> None:
        """End every generation now."""
        self._loop.cancel_all(reason)

    def close(self, timeout_s: float = 5.0) -> None:
        """End every generation with `shutdown` and free the model."""
        with self._lock:
            # A thread that is still loading cannot hear; it dies with the process.
            thread, self.state = self._thread if self._loaded is not None else None, "draining"
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
    def could_not_load(self) -> bool:
        """It has failed, and never was in memory."""
        return self.state == "failed" and not self._has_loaded

    @property
    def loaded(self) -> Loaded:
        """The model's parts. Raises Loading or LoadFailed while there are none."""
        if self._loaded is not None:
            return self._loaded
        if self.state == "failed":
            raise LoadFailed(self._reason, retry_after_s=RETRY_FAILED_S)
        raise Loading(self._reason, retry_after_s=RETRY_LOADING_S)

    @property
    def num_live(self) -> int:
        """Answers that have not ended."""
        return self._loop.num_live

    def status(self) -> ModelStatus:
        """What it is doing."""
        num_live = self._loop.num_live
        engine = self._engine
        if engine is None:
            return ModelStatus(self.state, self._reason, 0, num_live, {})
        waiting = min(num_live, max(num_live - engine.max_running, engine.num_waiting))
        return ModelStatus(self.state, self._reason, num_live - waiting, waiting, engine.stats, engine.cache)

    # -- work -----------------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> Generation:
        """Begin an answer. Raises Draining or Overloaded."""
        if self.state == "draining":
            raise Draining("the server is stopping", retry_after_s=5)
        return self._loop.submit(job)

    def embed(self, tokens: Sequence[int]) -> list[float]:
        """A unit vector, made between two steps of the engine."""
        _, engine = self.loaded, self._engine
        assert engine is not None
        vector: NDArray[np.float32] = self._loop.call(lambda: engine.embed(tokens), self._settings.deadline_s)
        found: list[float] = vector.tolist()
        return found

    @cached_property
    def labels(self) -> Labels:
        """What decisions are named with in this model's vocabulary."""
        return Labels(self.loaded.tokenizer)

    def compiler(self) -> GrammarCompiler:
        """What makes grammars for this model's vocabulary."""
        from minivault.structured.grammar import GrammarCompiler

        with self._grammars_lock:  # its own: reading the vocabulary takes a moment, and events must flow
            if self._grammars is None:
                self._grammars = GrammarCompiler(self.loaded.tokenizer)
            return self._grammars

    # -- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        time.sleep(self._delay_s)
        try:
            loaded, engine = self._load()
        except Exception as error:
            self._fail_loading(_one_line(error))
            return
        try:
            self._loop.run(engine, self._look_around)
            loaded.runner.close()
        except Exception:
            log.exception("the engine failed")
            self._refuse("the engine failed; restart the server")
            self._loop.fail_all()
        finally:
            self._engine = None

    def _load(self) -> tuple[Loaded, Engine]:
        from minivault.engine import Engine, sampler

        started = time.monotonic()
        sampler.load(self._settings.kernels_dir)
        loaded, mark = self._backend(self._settings), mark_of(self._settings)
        tokenizer, runner = loaded.tokenizer, loaded.runner
        engine = Engine(
            runner,
            tokenizer,
            max_running=self._settings.max_running,
            prefix_cache_bytes=self._settings.prefix_cache_mb << 20,
            mark=mark,
        )
        has_template = tokenizer.has_chat_template
        info = marking(replace(loaded.info, has_chat=has_template, has_tools=has_template), mark)
        with self._lock:
            self._loaded, self._engine, self._has_loaded = replace(loaded, info=info), engine, True
        self._end_loading("ready", "")
        took_s, what = time.monotonic() - started, "model %s ready in %.1f s (%s runner): %s"
        log.info(what, info.name, took_s, info.runner, _room(info, engine))
        return loaded, engine

    def _end_loading(self, state: State, reason: str) -> None:
        """Who is called is told before anybody can find the model in its new state."""
        self._on_loaded()
        with self._lock:
            if self.state == "loading":
                self.state, self._reason = state, reason
        self._has_ended_loading.set()
        if self._watchdog is not None:
            self._watchdog.cancel()

    def _give_up_loading(self) -> None:
        if not self._has_ended_loading.is_set():
            self._fail_loading(f"loading took longer than MINIVAULT_LOAD_TIMEOUT_S={self._settings.load_timeout_s:g}")

    def _fail_loading(self, reason: str) -> None:
        self._end_loading("failed", reason)
        log.error("cannot load the model: %s", reason)

    def _give_up_engine(self) -> None:
        """The engine thread hangs, and cannot be stopped, or is in a step that takes very long: nothing is served until
        it is between two steps again."""
        with self._lock:
            if self.state != "ready":
                return
            self._silent = self._loaded
        self._refuse("the model stopped responding; restart the server if that lasts")
        log.error("the model stopped responding; this worker refuses requests until it does, or is restarted")

    def _come_back(self) -> None:
        """It was only slow, as on a machine with too much to do."""
        with self._lock:
            loaded, self._silent = self._silent, None
            if self.state != "failed":
                return
            self.state, self._reason, self._loaded = "ready", "", loaded
        log.warning("the model responds again")

    def _refuse(self, reason: str) -> None:
        """From now on there is nothing to serve, and readiness says why."""
        with self._lock:
            self.state, self._reason = "failed", reason
            self._loaded = None

    def _look_around(self) -> None:
        if self._silent is not None:
            self._come_back()
        self._look()
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
