"""Takes down what a worker is doing every few seconds, so that whichever worker is asked for metrics knows of all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

INTERVAL_S = 2.0

log = logging.getLogger("minivault.worker")


class Metering:
    """Calls `measure` every `interval_s` seconds on a thread of its own, from `start` to `stop`."""

    def __init__(self, measure: Callable[[], None], interval_s: float = INTERVAL_S) -> None:
        self._measure = measure
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="minivault-metering", daemon=True)

    def start(self) -> None:
        """Begin with a first look."""
        self._thread.start()

    def stop(self) -> None:
        """End; idempotent."""
        self._stopped.set()

    def _run(self) -> None:
        while True:
            try:
                self._measure()
            except OSError as error:  # no descriptor left, or the disk: figures are late, nobody waits for them
                log.debug("metrics: %s", error)
            if self._stopped.wait(self._interval_s):
                return
