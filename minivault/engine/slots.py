"""Slots: who holds which slot, and for how many positions. Numbers only; the tensors are the runner's.

A slot is a place in the batch; whether there is memory for what it will hold is counted in blocks (`blocks.py`).
"""

from __future__ import annotations

import heapq


class Slots:
    """`num_slots` slots of `context` positions each. The lowest free slot is given first, so that memory that a runner
    allocates on first use stays small."""

    def __init__(self, num_slots: int, context: int) -> None:
        self.num_slots = num_slots
        self.context = context
        self._free = list(range(num_slots))
        self._reserved: dict[int, int] = {}

    @property
    def num_used(self) -> int:
        return len(self._reserved)

    @property
    def used(self) -> frozenset[int]:
        """The slots in use."""
        return frozenset(self._reserved)

    def can_admit(self, num_positions: int) -> bool:
        return bool(self._free) and num_positions <= self.context

    def admit(self, num_positions: int) -> int:
        """Reserve a slot for `num_positions`; ask `can_admit` first. Raises RuntimeError if it cannot be."""
        if not self.can_admit(num_positions):
            raise RuntimeError(f"no slot for {num_positions} positions: {self.num_used} of {self.num_slots} used")
        slot = heapq.heappop(self._free)
        self._reserved[slot] = num_positions
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back. Raises RuntimeError if it is not in use."""
        if self._reserved.pop(slot, None) is None:
            raise RuntimeError(f"slot {slot} is not in use")
        heapq.heappush(self._free, slot)

    def check_integrity(self) -> None:
        """Raises RuntimeError unless every slot is either free or used, once."""
        if sorted([*self._free, *self._reserved]) != list(range(self.num_slots)):
            raise RuntimeError(f"slots are lost or doubled: free {self._free}, used {sorted(self._reserved)}")
        if any(not 0 < num <= self.context for num in self._reserved.values()):
            raise RuntimeError(f"a reservation does not fit {self.context} positions: {self._reserved}")
