"""Slots: slots are never lost, doubled or shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minivault.engine.slots import Slots


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
def test_any_order_of_admissions_and_releases_keeps_every_slot_once(steps: list[tuple[bool, int]]) -> None:
    slots = Slots(4, 32)
    used: list[int] = []
    for is_admission, number in steps:
        if is_admission:
            possible = len(used) < 4 and number <= 32
            assert slots.can_admit(number) == possible
            if possible:
                slot = slots.admit(number)
                assert slot == min(set(range(4)) - set(used))
                used.append(slot)
        elif used:
            slots.release(used.pop(number % len(used)))
        slots.check_integrity()
        assert slots.used == frozenset(used)
        assert slots.num_used == len(used)


def test_full_slots_admit_nobody() -> None:
    slots = Slots(1, 8)
    slots.admit(8)
    with pytest.raises(RuntimeError, match="1 of 1 used"):
        slots.admit(1)


def test_a_slot_is_released_once() -> None:
    slots = Slots(2, 8)
    slot = slots.admit(8)
    slots.release(slot)
    with pytest.raises(RuntimeError, match="not in use"):
        slots.release(slot)


def test_a_lost_slot_is_noticed() -> None:
    slots = Slots(2, 8)
    slots._free.clear()
    with pytest.raises(RuntimeError, match="lost or doubled"):
        slots.check_integrity()
