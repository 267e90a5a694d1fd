"""A worker's part in the history: every few seconds it writes what it did since the last time."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import psutil

from minivault.config import Settings
from minivault.history import History, Sample, since, totals
from minivault.service import Roster

if TYPE_CHECKING:  # as in `history`
    from minivault.metrics import Metrics

log = logging.getLogger("minivault.worker")

EVERY_S = 5.0


class Sampler:
    """A thread that samples one worker's models and metrics until it is stopped."""

    def __init__(self, settings: Settings, metrics: Metrics, roster: Roster) -> None:
        self._history = History(settings.run_dir, clock=time.time)
        self._metrics, self._roster = metrics, roster
        self._process = psutil.Process()
        self._before = totals(metrics.own)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="minivault-history", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where it cannot be started."""
        self._thread.start()

    def stop(self) -> None:
        """Take no further sample."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self._history.add(self.sample())
            except (OSError, sqlite3.Error, psutil.Error) as error:  # the picture has a hole; nobody waits for it
                log.debug("no sample was kept: %s", error)

    def sample(self) -> Sample:
        """How this worker is, and what it did since the last time."""
        before, self._before = self._before, totals(self._metrics.own)
        status = self._roster.status()
        cache = status.cache or {}
        return Sample(
            time_s=time.time(),
            worker=os.getpid(),
            counts=since(before, self._before),
            running=status.running,
            waiting=status.waiting,
            resident_bytes=self._process.memory_info().rss,
            cache_used=cache.get("used_tokens", 0),
            cache_all=cache.get("tokens", 0),
        )
