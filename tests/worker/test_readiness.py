"""A worker that cannot serve takes no connections while another one can; while none can, all do."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from minivault.worker.readiness import NUM_PLACES, Readiness, Standing


@given(st.lists(st.booleans(), min_size=1, max_size=8))
def test_who_may_accept_is_those_that_are_ready_or_all(ready: list[bool]) -> None:
    readiness = Readiness()
    standings = [Standing(readiness, age, lambda is_ready=is_ready: is_ready) for age, is_ready in enumerate(ready, 1)]  # type: ignore[misc]
    for standing in standings:
        _ = standing.is_ready
    assert [standing.may_accept for standing in standings] == (ready if any(ready) else [True] * len(ready))


def test_a_worker_that_stops_is_ready_no_more() -> None:
    readiness = Readiness()
    stopping, loading = Standing(readiness, 1, lambda: True), Standing(readiness, 2, lambda: False)
    assert (stopping.is_ready, loading.may_accept) == (True, False)
    stopping.leave()
    assert (stopping.is_ready, loading.may_accept) == (False, True)


def test_a_forked_worker_is_seen_and_when_it_is_gone_the_main_process_says_so() -> None:
    readiness = Readiness()
    if (child := os.fork()) == 0:
        readiness.announce(7, is_ready=True)
        os._exit(0)
    os.waitpid(child, 0)
    assert readiness.is_any
    readiness.announce(7, is_ready=False)
    assert not readiness.is_any


def test_a_worker_whose_place_another_left_is_seen_again_when_it_next_looks() -> None:
    readiness = Readiness()
    old = Standing(readiness, 1, lambda: True)
    assert old.is_ready
    readiness.announce(1 + NUM_PLACES, is_ready=False)
    assert old.is_ready and readiness.is_any
