"""Progress of what counts records, on stderr and for a person only: nothing for what is quick, a bar for the rest."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minivault.cli.show.terminal import note

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PATIENCE_S = 0.5
"""What takes less shows nothing."""
STEP_S = 0.1
"""Between two looks at the bar: drawing must cost nothing beside the work."""
TOLD_S = 1.0
"""What takes longer is summed up at its end."""


class Counting:
    """Told how many are done, it shows that once it has taken a while. `total` 0: nobody knows how many there are."""

    def __init__(self, title: str, total: int, *, is_shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_done = 0
        self._title, self._total, self._clock = title, total, clock
        self._began_s = clock()
        self._is_shown = is_shown
        self._next_s = PATIENCE_S
        self._bar: tuple[Progress, TaskID] | None = None

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._began_s

    def __call__(self, num_done: int) -> None:
        """So many are done now."""
        self.num_done = num_done
        if not self._is_shown or self.seconds < self._next_s:
            return
        self._next_s = self.seconds + STEP_S
        if self._bar is None:
            self._bar = self._begin()
        progress, task = self._bar
        progress.update(task, completed=num_done)

    def stage(self, title: str) -> None:
        """The same once more from the beginning, for another purpose."""
        self._title = title
        if self._bar is not None:
            self._bar[0].update(self._bar[1], description=title, completed=0)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar[0].stop()

    def _begin(self) -> tuple[Progress, TaskID]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        progress = Progress(*columns, console=Console(stderr=True), transient=True)
        progress.start()
        return progress, progress.add_task(self._title, total=self._total or None)


@contextmanager
def counting(title: str, total: int, noun: str = "records") -> Iterator[Counting]:
    """Show progress on a terminal's stderr while the block runs, and if that was long, sum it up there at its end."""
    shown = Counting(title, total, is_shown=sys.stderr.isatty())
    try:
        yield shown
    finally:
        shown.close()
    if sys.stderr.isatty() and shown.seconds > TOLD_S:
        rate = shown.num_done / shown.seconds
        note(f"{title}: {shown.num_done:,} {noun} in {shown.seconds:.1f} s ({rate:,.0f} a second)")
