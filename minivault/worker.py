"""The worker process's one `ModelService`, and what gunicorn's hooks do with it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from flask import Flask

from minivault.config import Settings
from minivault.interaction import Interactions
from minivault.service import ModelService, resolve_backend

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


def start_worker(settings: Settings, is_stopping: Callable[[], bool]) -> None:
    """Begin loading the model in the background; the server answers `loading` meanwhile."""
    worker_service(settings).start(is_stopping)


def open_worker(app: Flask) -> None:
    """Open the vault, so that what a dead worker left behind is recorded now and not at the first request."""
    _interactions(app).open_vault()


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
