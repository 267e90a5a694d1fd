"""A worker's threads are started with it, so that a thread limit shows at the start and not in the middle of an answer.

Where the system gives too few, the first workers end the server with one line; a replacement is tried again now and
then, while the other workers serve.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from minivault.config import Settings
from minivault.worker.backoff import LoadBackoff

RETRY_S = 5.0
CANNOT_START = 3
"""The exit status that makes gunicorn, and the service unit, give up instead of starting again."""

log = logging.getLogger("minivault.threads")


def start_all(pool: ThreadPoolExecutor, num_threads: int) -> None:
    """Start every thread of a pool that has done nothing yet. Raises RuntimeError where one cannot be started."""
    gate = threading.Event()
    try:
        for _ in range(num_threads):
            pool.submit(gate.wait)  # which keeps a thread busy, so that the next one is started too
    finally:
        gate.set()


@contextmanager
def thread_limit(settings: Settings, backoff: LoadBackoff, *, is_first: bool) -> Iterator[None]:
    """End the worker, with a line that says what to do, where a thread cannot be started in this block."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        log.error(
            "the system gives this worker too few threads: raise the limit (TasksMax= of systemd, the container's pids "
            "limit, ulimit -u) or lower MINIVAULT_THREADS=%d",
            settings.threads,
        )
        backoff.end()  # it did not die of loading
        if is_first:
            sys.exit(CANNOT_START)
        time.sleep(RETRY_S)
        sys.exit(1)
