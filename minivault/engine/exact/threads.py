"""Work shared by threads: a step is a row of phases, a phase so many units, and who is free takes the next unit.

Nobody is waited for who has not taken one: a thread that the system keeps from running costs its share, and no more.
A waiting thread spins for some microseconds and then sleeps, so that it does not take a neighbour's time either, and is
woken with the right of way. Words carry the step's number, so that who comes late notices and does nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.compiling import part
from minivault.engine.exact.ops import exchanged, fetch_add, load, pause, sleep_while, store, wake

Board = NDArray[np.int64]
"""What the threads share: words on cache lines of their own."""
LINE = 8
STEP, SLEEPERS, NEWS, NUM_ROWS, NUM_TILES, NUM_WANTED, WANTS_LOGITS = (LINE * i for i in range(7))
"""The step's number (0: none yet; negative: all go home), how many sleep, a count to sleep on, and what is to do."""
PHASES = LINE * 8
TAKEN, DONE = 0, LINE
SHIFT = 24
UNITS = (1 << SHIFT) - 1
"""A phase's word: the step's number, and below it how many units."""
SPIN = 600
"""Some ten microseconds."""
EVERYONE = 1 << 30


def board(num_phases: int) -> Board:
    return np.zeros(PHASES + 2 * LINE * num_phases, np.int64)


@part
def take(board: Board, phase: int, step: int, units: int) -> int:
    """The next unit of a phase; -1 when all are taken, or the step is over."""
    place = PHASES + phase * 2 * LINE + TAKEN
    while True:
        word = load(board, place)
        unit = word & UNITS
        if word >> SHIFT != step or unit >= units:
            return -1
        if exchanged(board, place, word, word + 1):
            return unit


@part
def finished(board: Board, phase: int, units: int) -> None:
    """One more unit of a phase is done; tell who sleeps if it was the last."""
    done = fetch_add(board, PHASES + phase * 2 * LINE + DONE, 1) + 1
    if done & UNITS >= units:
        _tell(board)


@part
def _tell(board: Board) -> None:
    if load(board, SLEEPERS) > 0:
        fetch_add(board, NEWS, 1)
        wake(board, NEWS, EVERYONE)


@part
def done(board: Board, phase: int, step: int, units: int) -> bool:
    """Wait until all units of a phase are done; False if the step is over without us."""
    place = PHASES + phase * 2 * LINE + DONE
    _wait(board, place, (step << SHIFT) | units)
    return load(board, place) == (step << SHIFT) | units


@part
def _wait(board: Board, place: int, least: int) -> None:
    """Until a word is `least` or more, or negative."""
    for _ in range(SPIN):
        if not 0 <= load(board, place) < least:
            return
        pause()
    fetch_add(board, SLEEPERS, 1)
    while True:
        news = load(board, NEWS)
        if not 0 <= load(board, place) < least:
            break
        sleep_while(board, NEWS, news)
    fetch_add(board, SLEEPERS, -1)


@part
def begin(board: Board, num_rows: int, num_tiles: int, num_wanted: int, wants_logits: int) -> int:
    """Open the next step; its number. The leader's, when no step runs. Words of phases first: who comes late to the
    last step must not count its units by the size of this one."""
    step = load(board, STEP) + 1
    for place in range(PHASES, len(board), LINE):
        store(board, place, step << SHIFT)
    store(board, NUM_ROWS, num_rows)
    store(board, NUM_TILES, num_tiles)
    store(board, NUM_WANTED, num_wanted)
    store(board, WANTS_LOGITS, wants_logits)
    store(board, STEP, step)
    _tell(board)
    return step


@part
def await_step(board: Board, last: int) -> int:
    """The number of a step after `last`, as soon as there is one; negative to go home."""
    _wait(board, STEP, last + 1)
    return load(board, STEP)


class Team:
    """Threads that run `work(number)`, numbers from 1 on, until `dismiss` makes it return; the caller is number 0."""

    def __init__(self, num_threads: int, work: Callable[[int], Any], dismiss: Callable[[], Any]) -> None:
        self._dismiss = dismiss
        names = [(number, f"exact-{number}") for number in range(1, num_threads)]
        self._threads = [threading.Thread(target=work, args=(i,), name=name, daemon=True) for i, name in names]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Send all home and wait until they are gone."""
        self._dismiss()
        for thread in self._threads:
            thread.join()
        self._threads = []


@part
def dismiss(board: Board) -> None:
    store(board, STEP, -1)
    fetch_add(board, NEWS, 1)
    wake(board, NEWS, EVERYONE)
