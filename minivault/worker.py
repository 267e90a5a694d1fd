"""The worker process's models, and what gunicorn's hooks do with it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from functools import partial

from flask import Flask

from minivault.config import Settings
from minivault.errors import LoadFailed, MiniVaultError
from minivault.interaction import Recorder
from minivault.replay import regenerate
from minivault.service import LocalModel, Roster
from minivault.service.load_backoff import LoadBackoff

log = logging.getLogger("minivault.worker")

SWITCH_INTERVAL_S = 0.0005

_lock = threading.Lock()
_roster: Roster | None = None


def worker_roster(settings: Settings) -> Roster:
    """This process's models, made on first call and not yet loading anything."""
    global _roster  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _roster is None:
            _roster = Roster(LocalModel(settings))
        return _roster


def start_worker(settings: Settings, backoff: LoadBackoff, is_stopping: Callable[[], bool]) -> None:
    """Begin loading the model in the background; the server answers `loading` meanwhile."""
    # The engine thread gives the lock up at every tensor operation; it must not wait 5 ms to get it back each time.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    backoff.begin()
    if backoff.delay_s:
        log.warning(
            "%d workers in a row died while loading the model, most likely for lack of memory (or of threads); "
            "trying again in %.0f s",
            backoff.num_deaths,
            backoff.delay_s,
        )
    worker_roster(settings).default.start(is_stopping, delay_s=backoff.delay_s, on_loaded=backoff.end)


def open_worker(app: Flask) -> None:
    """Watch clients and open the vault; record what dead workers left open as soon as the model can say what they had
    sent."""
    app.extensions["minivault.disconnect"].start()
    recorder = _recorder(app)
    recorder.open_vault()
    threading.Thread(target=_recover, args=(recorder,), name="minivault-recover", daemon=True).start()


def _recover(recorder: Recorder) -> None:
    model = recorder.roster.default
    try:
        model.wait_loaded()
        recovered = recorder.vault.recover(partial(regenerate, model))
    except LoadFailed:  # the model has said so; without a model, what was sent cannot be re-derived
        return
    except (MiniVaultError, OSError) as error:
        log.warning("what dead workers left open stays for later: %s", error)
        return
    for one in recovered:
        log.info("recorded interrupted interaction %s (%d tokens sent)", one.id, one.num_tokens)


def interrupt_worker(settings: Settings) -> None:
    """End every stream at once."""
    for model in worker_roster(settings):
        model.cancel_all("shutdown")


def close_worker(app: Flask | None) -> None:
    """Flush what is left, within a bounded time."""
    if app is not None:
        _recorder(app).close()


def _recorder(app: Flask) -> Recorder:
    found: Recorder = app.extensions["minivault"]
    return found
