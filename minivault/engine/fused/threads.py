"""How many threads a step takes, by what the machine has to spare, chosen again as that changes.

The threads of a step wait for each other at every layer. One that loses its core to another program stops all of them
for a time slice, many times a token: two threads beside two busy programs on two cores are ten times slower than one.
So a step takes no more threads than there are cores that others leave free. No bit of a result depends on it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

LOOK_EVERY_S = 0.25
LENIENCE = 0.3
"""Of a core: what others may take of one that is still counted as free (background work is no neighbour)."""
_IDLE_FIELDS = (3, 4)
_COUNTED_FIELDS = 8
"""Of a CPU's line in /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guests are within user."""

BusySeconds = Callable[[], float | None]


class SpareThreads:
    """Sets torch's threads for the thread that calls `adapt`, at most `most`.

    `busy_s` tells how many CPU seconds were used on this process's cores by anyone, None where that is unknown;
    `own_s` how many of them by this process. `num_cores` is how many cores those are.
    """

    def __init__(
        self,
        most: int,
        *,
        num_cores: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        busy_s: BusySeconds | None = None,
        own_s: Callable[[], float] = time.process_time,
    ) -> None:
        self._most = self.num_threads = most
        self._num_cores = num_cores or len(os.sched_getaffinity(0))
        self._clock, self._busy_s, self._own_s = clock, busy_s or busy_seconds, own_s
        self._seen = (clock(), self._busy_s(), own_s())

    def adapt(self) -> None:
        """Look how busy the machine was since the last look, and choose; to be called before each step."""
        now = self._clock()
        began, busy_before, own_before = self._seen
        if self._most == 1 or busy_before is None or now - began < LOOK_EVERY_S:
            return
        busy, own = self._busy_s(), self._own_s()
        self._seen = (now, busy, own)
        if busy is None:
            return
        others = max(0.0, (busy - busy_before) - (own - own_before)) / (now - began)
        chosen = max(1, min(self._most, int(self._num_cores - others + LENIENCE)))
        if chosen != self.num_threads:
            self.num_threads = chosen
            torch.set_num_threads(chosen)


def busy_seconds(stat: Path = Path("/proc/stat")) -> float | None:
    """CPU seconds used so far on the cores that this process may use; None where the system does not say."""
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return None
    names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = [_busy_ticks(line.split()[1:]) for line in lines if line.split(" ", 1)[0] in names]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def _busy_ticks(fields: list[str]) -> int:
    return sum(int(field) for number, field in enumerate(fields[:_COUNTED_FIELDS]) if number not in _IDLE_FIELDS)
