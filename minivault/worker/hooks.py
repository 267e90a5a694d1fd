"""gunicorn's hooks: what a server does before it starts, in each worker from its fork to its end, and when it stops."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import threading
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minivault import tracing
from minivault.access.exposure import check_access
from minivault.access.offline import install_offline_guard
from minivault.config import Settings, share_metrics
from minivault.errors import LoadFailed, MiniVaultError
from minivault.observe.watchers import Watchers
from minivault.replay import regenerate
from minivault.service import Roster, roster_of
from minivault.service.backends import check_backend
from minivault.vault import vault_id
from minivault.worker.backoff import LoadBackoff
from minivault.worker.batches import BatchWorker
from minivault.worker.metering import Metering
from minivault.worker.readiness import Readiness, Standing
from minivault.worker.sampling import Sampler
from minivault.worker.sockets import harden_sockets
from minivault.worker.threads import CANNOT_START, start_all, thread_limit

if TYPE_CHECKING:
    from minivault.interaction import Recorder

log = logging.getLogger("minivault.worker")

SWITCH_INTERVAL_S = 0.0005

_lock = threading.Lock()
_roster: Roster | None = None


def worker_roster(settings: Settings) -> Roster:
    """This process's models, made on first call and not yet loading anything."""
    global _roster  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _roster is None:
            _roster = roster_of(settings)
        return _roster


class Hooks:
    """The hooks of one server, by gunicorn's names; the fork takes a copy into each worker.

    `server` is gunicorn's Arbiter, `worker` its Worker: both untyped.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._backoff = LoadBackoff(settings.run_dir)
        self._readiness = Readiness()
        self._vault = ""

    def on_starting(self, server: Any) -> None:
        """Refuse what cannot work with one line, before any worker exists."""
        logger = logging.getLogger("minivault")  # our own lines go where gunicorn's go
        logger.handlers = server.log.error_log.handlers
        logger.setLevel(server.log.error_log.level)
        for handler in logger.handlers:
            handler.addFilter(tracing.mark)
        self._make_metrics_dir()
        try:
            check_access(self._settings, server.cfg.address)  # `gunicorn -b` may have changed what is bound
            check_backend(self._settings)
            Watchers.check(self._settings)
        except MiniVaultError as error:
            print(f"minivault: {error.message}", file=sys.stderr)
            self.on_exit(server)
            sys.exit(CANNOT_START)

    def pre_fork(self, _server: Any, _worker: Any) -> None:
        """Remember which vault this server records in: a worker that comes later opens that one or none."""
        with suppress(OSError, MiniVaultError):
            self._vault = self._vault or vault_id(self._settings.log_dir)

    def post_fork(self, _server: Any, worker: Any) -> None:
        """Load the model in the background; the worker serves `loading` until it is there."""
        from minivault.engine.host import keep_few_arenas

        # Until the worker installs its own handlers, SIGTERM must stop it, not queue up behind the arbiter's.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        settings = self._settings
        install_offline_guard(settings)
        keep_few_arenas()
        roster = worker_roster(settings)
        worker.standing = Standing(self._readiness, worker.age, lambda: roster.is_ready)
        harden_sockets(worker.sockets, receive_s=settings.receive_timeout_s, send_s=settings.send_timeout_s)
        with self._thread_limit(worker):
            # The engine thread gives the lock up at every tensor operation; it must not wait 5 ms to get it back.
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self._load(worker)

    def post_worker_init(self, worker: Any) -> None:
        """Start the threads, watch clients and open the vault; as soon as the model is loaded, record what it is and
        what dead workers left open."""
        recorder = _recorder(worker)
        with self._thread_limit(worker):
            start_all(worker.tpool, worker.cfg.threads)
            worker.wsgi.extensions["minivault.disconnect"].start()
            recorder.watchers.open(self._settings)
            recorder.open_vault(self._vault)
            threading.Thread(target=_recover, args=(recorder,), name="minivault-recover", daemon=True).start()
            worker.batches = BatchWorker(worker.wsgi, self._settings, recorder.roster, lambda: not worker.alive)
            worker.batches.start()
            worker.metering = Metering(recorder.measure)
            worker.metering.start()
            worker.sampler = Sampler(self._settings, recorder.metrics, recorder.roster)
            worker.sampler.start()

    def worker_int(self, _worker: Any) -> None:
        """SIGINT and SIGQUIT: end the streams at once."""
        for model in worker_roster(self._settings):
            model.cancel_all("shutdown")

    def worker_exit(self, _server: Any, worker: Any) -> None:
        """Flush the vault, within a bounded time; a killed worker's records are closed by the next one."""
        if getattr(worker, "sampler", None) is not None:
            worker.sampler.stop()
        if getattr(worker, "batches", None) is not None:
            worker.batches.stop(self._settings.graceful_timeout_s)
        if getattr(worker, "metering", None) is not None:
            worker.metering.stop()
        if getattr(worker, "wsgi", None) is not None:
            _recorder(worker).close()

    def child_exit(self, _server: Any, worker: Any) -> None:
        """Drop a dead worker's gauges, and remember if it never got to serve; it is not ready any more."""
        self._readiness.announce(worker.age, is_ready=False)
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
        self._backoff.note_exit(worker.pid)

    def on_exit(self, _server: Any) -> None:
        """Remove this run's metrics."""
        shutil.rmtree(self._metrics_dir, ignore_errors=True)

    @property
    def _metrics_dir(self) -> Path:
        return self._settings.run_dir / f"metrics-{os.getpid()}"

    def _make_metrics_dir(self) -> None:
        shutil.rmtree(self._metrics_dir, ignore_errors=True)
        self._metrics_dir.mkdir(parents=True, mode=0o700)
        share_metrics(self._metrics_dir)

    def _thread_limit(self, worker: Any) -> AbstractContextManager[None]:
        return thread_limit(self._settings, self._backoff, is_first=worker.age <= worker.cfg.workers)

    def _load(self, worker: Any) -> None:
        backoff = self._backoff
        backoff.begin()
        if backoff.delay_s:
            log.warning(
                "%d workers in a row died while loading the model, most likely for lack of memory (or of threads); "
                "trying again in %.0f s",
                backoff.num_deaths,
                backoff.delay_s,
            )
        model = worker_roster(self._settings).default
        model.start(lambda: not worker.alive, delay_s=backoff.delay_s, on_loaded=backoff.end)


def _recover(recorder: Recorder) -> None:
    roster = recorder.roster
    try:
        recorder.explain(roster.default.wait_loaded())
        recovered = recorder.vault.recover(lambda opening, *sent: regenerate(roster.of_record(opening), opening, *sent))
    except LoadFailed:  # the model has said so; without a model, what was sent cannot be re-derived
        return
    except (MiniVaultError, OSError) as error:
        log.warning("what dead workers left open stays for later: %s", error)
        return
    for one in recovered:
        log.info("recorded interrupted interaction %s (%d tokens sent)", one.id, one.num_tokens)


def _recorder(worker: Any) -> Recorder:
    found: Recorder = worker.wsgi.extensions["minivault"]
    return found
