"""Keeps workers that die while loading from being replaced in a tight loop.

gunicorn forks a replacement at once, and a machine without enough memory kills it again: fifteen forks a second. Here
each replacement of a worker that died while loading waits longer before it loads, and answers `loading` meanwhile.
"""

from __future__ import annotations

import os
from pathlib import Path

MAX_DELAY_S = 60.0


class LoadBackoff:
    """Lives in gunicorn's main process and, copied by the fork, in its workers; marks are files in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.num_deaths = 0
        """How many workers in a row died before they had loaded."""

    @property
    def delay_s(self) -> float:
        """How long the next worker waits before it loads: nothing after the first death, then 1, 2, 4 ... 60 s."""
        return min(MAX_DELAY_S, 2.0 ** (self.num_deaths - 2)) if self.num_deaths > 1 else 0.0

    def begin(self) -> None:
        """Called in a worker: it is loading from now on."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._mark(os.getpid()).touch(mode=0o600)

    def end(self) -> None:
        """Called in a worker: it has loaded, or has reported why it cannot."""
        self._mark(os.getpid()).unlink(missing_ok=True)

    def note_exit(self, pid: int) -> None:
        """Called in the main process: this worker is gone."""
        mark = self._mark(pid)
        self.num_deaths = self.num_deaths + 1 if mark.exists() else 0
        mark.unlink(missing_ok=True)

    def _mark(self, pid: int) -> Path:
        return self._directory / f"loading-{pid}"
