"""The live display of a benchmark: one line on stderr that is gone when the run is over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from minivault.cli.load import Tally


@contextmanager
def watching(tally: Tally) -> Iterator[None]:
    """Show how `tally` grows until the block ends."""
    columns = (BarColumn(), MofNCompleteColumn(), _Rates(tally), TextColumn("·"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8) as progress:
        progress.add_task("", total=tally.num_requests)
        yield


class _Rates(ProgressColumn):
    """Reads the tally at each refresh, so the load itself never waits for the display."""

    max_refresh = None

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._began_s = time.monotonic()

    def render(self, task: Task) -> Text:
        tally = self._tally
        task.completed = len(tally.samples)
        rate = tally.num_pieces / max(time.monotonic() - self._began_s, 1e-3)
        text = Text(f"{tally.num_running} running · {rate:.0f} tokens/s")
        if tally.num_refusals:
            text.append(f" · {tally.num_refusals} refused", style="yellow")
        if tally.num_failed:
            text.append(f" · {tally.num_failed} failed", style="red")
        return text
