"""The worker process's one `ModelService`, and what gunicorn's hooks do with it."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from functools import partial

from flask import Flask

from minivault.config import Settings
from minivault.errors import LoadFailed, MiniVaultError
from minivault.interaction import Interactions
from minivault.replay import regenerate
from minivault.service import ModelService, resolve_backend
from minivault.service.load_backoff import LoadBackoff

log = logging.getLogger("minivault.worker")

SWITCH_INTERVAL_S = 0.0005

_lock = threading.Lock()
_service: ModelService | None = None


def worker_service(settings: Settings) -> ModelService:
    """This process's service, made on first call and not yet loading anything."""
    global _service  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _service is None:
            _service = ModelService(settings)
        return _service


def check_startable(settings: Settings) -> None:
    """Raise ConfigError or ModelError for what no worker could serve; loads nothing."""
    if settings.backend == "local":
        from minivault.service.local import check_model

        check_model(settings)
    else:
        resolve_backend(settings)


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
    worker_service(settings).start(is_stopping, delay_s=backoff.delay_s, on_loaded=backoff.end)


def open_worker(app: Flask) -> None:
    """Watch clients and open the vault; record what dead workers left open as soon as the model can say what they had
    sent."""
    app.extensions["minivault.disconnect"].start()
    interactions = _interactions(app)
    interactions.open_vault()
    threading.Thread(target=_recover, args=(interactions,), name="minivault-recover", daemon=True).start()


def _recover(interactions: Interactions) -> None:
    service = interactions.service
    try:
        service.wait_loaded()
        recovered = interactions.vault.recover(partial(regenerate, service))
    except LoadFailed:  # the service has said so; without a model, what was sent cannot be re-derived
        return
    except (MiniVaultError, OSError) as error:
        log.warning("what dead workers left open stays for later: %s", error)
        return
    for one in recovered:
        log.info("recorded interrupted interaction %s (%d tokens sent)", one.id, one.num_tokens)


def interrupt_worker(settings: Settings) -> None:
    """End every stream at once."""
    worker_service(settings).cancel_all("shutdown")


def close_worker(app: Flask | None) -> None:
    """Flush what is left, within a bounded time."""
    if app is not None:
        _interactions(app).close()


def _interactions(app: Flask) -> Interactions:
    found: Interactions = app.extensions["minivault"]
    return found
