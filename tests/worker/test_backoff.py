"""Replacements of workers that died while loading wait longer each time; any that loads ends the row."""

from __future__ import annotations

import os
from pathlib import Path

from minivault.worker.backoff import LoadBackoff


def die_while_loading(backoff: LoadBackoff) -> None:
    backoff.begin()
    backoff.note_exit(os.getpid())


def test_delays_grow_to_a_limit(tmp_path: Path) -> None:
    backoff = LoadBackoff(tmp_path / "run")
    delays = []
    for _ in range(10):
        die_while_loading(backoff)
        delays.append(backoff.delay_s)
    assert delays == [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_worker_that_had_loaded_may_die_as_often_as_it_likes(tmp_path: Path) -> None:
    backoff = LoadBackoff(tmp_path)
    for _ in range(3):
        die_while_loading(backoff)
    backoff.begin()
    backoff.end()
    backoff.note_exit(os.getpid())
    assert (backoff.num_deaths, backoff.delay_s) == (0, 0)
    assert list(tmp_path.iterdir()) == []
