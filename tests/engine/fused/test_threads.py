"""A step takes as many threads as others leave cores free, and no bit depends on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.fused.threads import LOOK_EVERY_S, SpareThreads, busy_seconds


@dataclass
class Machine:
    """A machine whose time passes as told: seconds by the clock, and CPU seconds of all and of us."""

    now: float = 100.0
    busy: float | None = 50.0
    own: float = 5.0

    def threads(self, most: int, num_cores: int) -> SpareThreads:
        return SpareThreads(
            most,
            num_cores=num_cores,
            clock=lambda: self.now,
            busy_s=lambda: self.busy,
            own_s=lambda: self.own,
        )

    def run(self, seconds: float, *, own: float, others: float) -> None:
        """Let time pass in which we and others keep so many cores busy."""
        assert self.busy is not None
        self.now += seconds
        self.own += own * seconds
        self.busy += (own + others) * seconds


@pytest.fixture(autouse=True)
def threads_as_they_were() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_two_busy_neighbours_on_two_cores_leave_one_thread_and_give_it_back_when_they_go() -> None:
    machine = Machine()
    threads = machine.threads(2, num_cores=2)
    chosen = []
    for own, others in [(2, 0), (2, 0), (1, 1), (0.7, 1.3), (0.7, 1.3), (1, 0.1), (2, 0)]:
        machine.run(1, own=own, others=others)
        threads.adapt()
        chosen.append(threads.num_threads)
    assert chosen == [2, 2, 1, 1, 1, 2, 2]
    assert torch.get_num_threads() == 2


@given(st.integers(1, 64), st.integers(1, 64), st.lists(st.tuples(st.floats(0, 64), st.floats(0, 64)), max_size=5))
def test_there_is_always_a_thread_and_never_more_than_may_be(
    most: int, num_cores: int, loads: list[tuple[float, float]]
) -> None:
    machine = Machine()
    threads = machine.threads(most, num_cores=num_cores)
    for own, others in loads:
        machine.run(1, own=own, others=others)
        threads.adapt()
        assert 1 <= threads.num_threads <= most
        if others <= num_cores - most:
            assert threads.num_threads == most


def test_the_machine_is_looked_at_now_and_then_not_at_every_step() -> None:
    machine = Machine()
    threads = machine.threads(4, num_cores=4)
    machine.run(LOOK_EVERY_S / 2, own=1, others=3)
    threads.adapt()
    assert threads.num_threads == 4
    machine.run(LOOK_EVERY_S, own=1, others=3)
    threads.adapt()
    assert threads.num_threads == 1


def test_where_the_system_does_not_say_nothing_changes() -> None:
    machine = Machine(busy=None)
    threads = machine.threads(4, num_cores=4)
    machine.now += 10
    threads.adapt()
    assert threads.num_threads == 4


def test_busy_time_is_that_of_the_cores_this_process_may_use(tmp_path: Path) -> None:
    mine = sorted(os.sched_getaffinity(0))
    stat = tmp_path / "stat"
    lines = ["cpu 9 9 9 9 9 9 9 9 9 9", *(f"cpu{number} 10 20 30 1000 1000 5 5 30 7 7" for number in mine)]
    stat.write_text("\n".join([*lines, "cpu99999 1 1 1 1 1 1 1 1 1 1", "intr 5"]))
    assert busy_seconds(stat) == pytest.approx(len(mine) * 100 / os.sysconf("SC_CLK_TCK"))
    assert busy_seconds(tmp_path / "missing") is None
