"""Progress on stderr: a bar for a person at a terminal, a few plain lines for a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minivault.cli.show.terminal import note

Progress = Callable[[str, int, int], None]
_STEP_PERCENT = 25


@contextmanager
def show_transfer(title: str) -> Iterator[Progress]:
    """A progress function (stage, done, total in bytes) that shows itself on stderr while the block runs."""
    if not sys.stderr.isatty():
        yield _plain_lines(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        stages: dict[str, int] = {}

        def draw(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = int(bars.add_task(stage, total=total or None))
            bars.update(bars.task_ids[stages[stage]], completed=done, total=total or None)

        yield draw


def _plain_lines(title: str) -> Progress:
    """A line when a stage begins and at each quarter of it."""
    reported: dict[str, int] = {}

    def tell(stage: str, done: int, total: int) -> None:
        percent = 100 * done // total // _STEP_PERCENT * _STEP_PERCENT if total else 0
        if reported.get(stage, -1) < percent:
            reported[stage] = percent
            note(f"{title}: {stage}" + (f" {percent}% of {total / 1e6:.1f} MB" if total else ""))

    return tell
