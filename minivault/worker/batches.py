"""Runs batches in a worker, in the background: it looks for those that have not ended and claims one at a time.

A request of a batch is made through the very application that serves everybody, without a socket: it is validated,
limited, recorded and answered like any other.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from minivault.access.behalf import ON_BEHALF, Behalf
from minivault.batches import Batches, Files, Folder, Kept, Line, Reply, Run
from minivault.batches.run import Surroundings
from minivault.config import Settings
from minivault.service import Roster
from minivault.service.model import ModelStatus
from minivault.worker.threads import start_all

log = logging.getLogger("minivault.batches")

LOOK_S = 1.0
"""How often a worker looks for batches that nobody runs."""
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class BatchWorker:
    """A worker's part in the batches. `is_leaving` tells when the worker was asked to stop."""

    def __init__(self, app: App, settings: Settings, roster: Roster, is_leaving: Callable[[], bool]) -> None:
        self._app = app
        self._roster = roster
        self._max_running = settings.max_running
        self._is_leaving = is_leaving
        self._stop = threading.Event()
        folder = Folder(settings.batches_path)
        self._batches, self._files = Batches(folder), Files(folder)
        self._num_at_once = settings.batch_lines
        self._around = Surroundings(
            answer=self.answer,
            is_calm=self._is_calm,
            is_stopping=self._is_stopping,
            pause=self._stop.wait,
            num_at_once=self._num_at_once,
            max_body_bytes=settings.max_body_kb << 10,
        )
        self._thread = threading.Thread(target=self._run, name="minivault-batches", daemon=True)
        self._pool: ThreadPoolExecutor | None = None

    def start(self) -> None:
        """Start the threads. Raises RuntimeError where one cannot be started."""
        if self._num_at_once:
            self._pool = ThreadPoolExecutor(self._num_at_once, thread_name_prefix="minivault-batch-line")
            start_all(self._pool, self._num_at_once)
            self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Begin no further request, and wait for those that run: the model ends them as it ends everybody's."""
        self._stop.set()
        if self._pool is not None:
            self._thread.join(timeout_s)
            self._pool.shutdown(wait=False)

    def answer(self, kept: Kept, line: Line) -> Reply:
        """Make one request of a batch."""
        status, headers = 500, dict[str, str]()

        def start_response(text: str, fields: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
            nonlocal status
            status = int(text.split(" ", 1)[0])
            headers.update({name.lower(): value for name, value in fields})
            return lambda _: None

        pieces = self._app(environment(kept, line), start_response)
        try:
            body = b"".join(pieces)
        finally:
            if hasattr(pieces, "close"):
                pieces.close()
        return Reply(status, headers.get("x-request-id", ""), json.loads(body), float(headers.get("retry-after", 1)))

    def _run(self) -> None:
        self._files.sweep()
        while not self._is_stopping():
            for batch_id in self._batches.unfinished():
                if not self._is_stopping():
                    self._work_on(batch_id)
            self._stop.wait(LOOK_S)

    def _work_on(self, batch_id: str) -> None:
        assert self._pool is not None
        try:
            with self._batches.claimed(batch_id) as kept:
                if kept is not None:
                    Run(self._batches, self._files, self._around, self._pool, kept).to_end()
        except Exception:  # an edge: whatever is wrong with one batch, the others go on, and it is tried again
            log.exception("batch %s waits", batch_id)

    def _is_stopping(self) -> bool:
        return self._stop.is_set() or self._is_leaving()

    def _is_calm(self) -> bool:
        """Nobody waits, and half of the places stay free for those who may come."""
        return all(self._has_room(model.status()) for model in self._roster)

    def _has_room(self, status: ModelStatus) -> bool:
        is_half_empty = not status.running or 2 * (status.running + 1) <= self._max_running
        return status.state in ("ready", "resting", "unloaded") and not status.waiting and is_half_empty


def environment(kept: Kept, line: Line) -> dict[str, Any]:
    """A request of a batch as WSGI has it."""
    batch = {"id": kept.batch.id, "custom_id": line.custom_id, "line": line.number}
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": kept.batch.endpoint,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": kept.client,
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": kept.user_agent,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(line.body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(line.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        ON_BEHALF: Behalf(kept.owner, kept.client, batch),
    }
