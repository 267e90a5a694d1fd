"""KVCache: slots are never lost, doubled or shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.kv_cache import KVCache


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
def test_any_order_of_admissions_and_releases_keeps_every_slot_once(steps: list[tuple[bool, int]]) -> None:
    cache = KVCache(4, 32)
    used: list[int] = []
    for is_admission, number in steps:
        if is_admission:
            possible = len(used) < 4 and number <= 32
            assert cache.can_admit(number) == possible
            if possible:
                slot = cache.admit(number)
                assert slot == min(set(range(4)) - set(used))
                used.append(slot)
        elif used:
            cache.release(used.pop(number % len(used)))
        cache.check_integrity()
        assert cache.used == frozenset(used)
        assert cache.num_used == len(used)


def test_a_full_cache_admits_nobody() -> None:
    cache = KVCache(1, 8)
    cache.admit(8)
    with pytest.raises(RuntimeError, match="1 of 1 used"):
        cache.admit(1)


def test_a_slot_is_released_once() -> None:
    cache = KVCache(2, 8)
    slot = cache.admit(8)
    cache.release(slot)
    with pytest.raises(RuntimeError, match="not in use"):
        cache.release(slot)


def test_a_lost_slot_is_noticed() -> None:
    cache = KVCache(2, 8)
    cache._free.clear()
    with pytest.raises(RuntimeError, match="lost or doubled"):
        cache.check_integrity()
