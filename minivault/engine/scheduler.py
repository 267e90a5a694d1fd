"""Scheduler: who runs next. Policy only; it touches no tensor and reads no clock.

Waiting sequences are admitted in order of arrival, those that are patient last, by worst case. A step decodes every
sequence whose prompt is processed, and processes as much of prompts as `step_tokens` tokens at their beginning would
cost, but at least a chunk, so that the gap between two tokens stays bounded. Sequences in prefill take turns, chunk by
chunk, so that a long prompt does not hold up short ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.sequence import Sequence
from minivault.engine.slots import Slots

NEAR_POSITIONS = 875
"""To attend to so many positions costs a token as much again as the rest of the model (the default one, measured)."""


class Scheduler:
    """The queue, and the sequences that hold a slot."""

    def __init__(self, slots: Slots, prefix_cache: PrefixCache, chunk_tokens: int, step_tokens: int) -> None:
        self._slots = slots
        self._prefix_cache = prefix_cache
        self._chunk_tokens = chunk_tokens
        self._step_tokens = step_tokens
        self.waiting: deque[Sequence] = deque()
        self.prefilling: deque[Sequence] = deque()
        self.decoding: list[Sequence] = []
        """Each of these gets one token a step."""

    @property
    def num_waiting(self) -> int:
        return len(self.waiting)

    @property
    def num_running(self) -> int:
        return len(self.prefilling) + len(self.decoding)

    def __iter__(self) -> Iterator[Sequence]:
        yield from self.decoding
        yield from self.prefilling
        yield from self.waiting

    def add(self, sequence: Sequence) -> None:
        """Behind those that wait; but patient ones are behind all others."""
        is_patient = sequence.job.is_patient
        num_before = sum(is_patient or not waiting.job.is_patient for waiting in self.waiting)
        self.waiting.insert(num_before, sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, whatever its phase, and free its slot."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        (self.decoding if sequence in self.decoding else self.prefilling).remove(sequence)
        self._slots.release(sequence.slot)
        sequence.slot = None

    def plan(self, now_ns: int) -> dict[Sequence, int]:
        """Admit who fits, then say up to which position each prompt is processed in this step. Call `promote` after."""
        while self.waiting and self._may_begin(self.waiting[0]):
            sequence = self.waiting.popleft()
            sequence.slot = self._slots.admit(sequence.num_positions)
            sequence.admitted_ns = now_ns
            self.prefilling.append(sequence)
        return self._take_turns()

    def _may_begin(self, sequence: Sequence) -> bool:
        """Whether it fits; patient ones leave half of the slots to others."""
        leaves_half = not self.num_running or 2 * (self.num_running + 1) <= self._slots.num_slots
        return self._slots.can_admit(sequence.num_positions) and (leaves_half or not sequence.job.is_patient)

    def promote(self) -> None:
        """Move sequences whose prompt is processed over to decoding."""
        prefilling, self.prefilling = self.prefilling, deque()
        for sequence in prefilling:
            (self.decoding if sequence.is_prefilled else self.prefilling).append(sequence)

    def _take_turns(self) -> dict[Sequence, int]:
        """How far each prompt gets in this step: a chunk at a time, in turns, while the next one fits the budget."""
        budget, stops = self._step_tokens, dict[Sequence, int]()
        turns, done = deque(self.prefilling), deque[Sequence]()
        while turns:
            sequence = turns[0]
            start = stops.get(sequence) or self._prefix_cache.reach(sequence.prefix_keys, sequence.num_prefilled)
            stop = sequence.chunk_end(start, self._chunk_tokens)
            budget -= _cost(start, stop)
            if stops and budget < 0:
                break
            stops[sequence] = stop
            (done if stop == len(sequence.prompt) else turns).append(turns.popleft())
        self.prefilling = turns + done
        return stops

    def check_integrity(self) -> None:
        """Raises RuntimeError unless exactly the running sequences hold the used slots."""
        self._slots.check_integrity()
        running = [*self.decoding, *self.prefilling]
        slots = [sequence.slot for sequence in running]
        if len(set(slots)) != len(slots) or frozenset(slots) != self._slots.used:
            raise RuntimeError(f"running sequences hold slots {slots}; in use are {sorted(self._slots.used)}")
        if any(sequence.slot is not None for sequence in self.waiting):
            raise RuntimeError("a waiting sequence holds a slot")


def _cost(start: int, stop: int) -> int:
    """What processing positions [start, stop) costs, in tokens at the beginning of a prompt."""
    num_tokens = stop - start
    return num_tokens + num_tokens * start // NEAR_POSITIONS
