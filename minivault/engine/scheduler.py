"""Scheduler: who runs next. Policy only; it touches no tensor and reads no clock.

Waiting sequences are admitted in order of arrival, those that are patient last, when there is a slot and the blocks of
their prompt can be had, with some to go on for everyone. Who then runs out of blocks takes them from the prefix cache,
then from whoever came last, which begins again once there is room: as a token depends on nothing but what is before it,
the answer is the same. The one that came first is never sent back, so everyone gets to the end.

A step decodes every sequence whose prompt is processed, and processes as much of prompts as `step_tokens` tokens at
their beginning would cost, but at least a chunk, so that the gap between two tokens stays bounded. Sequences in prefill
take turns, chunk by chunk, so that a long prompt does not hold up short ones. What several prompts begin with is
processed for one of them; the others find it in the prefix cache at their next turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from minivault.engine.blocks import Blocks
from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.sequence import Sequence
from minivault.engine.slots import Slots

NEAR_POSITIONS = 875
"""To attend to so many positions costs a token as much again as the rest of the model (the default one, measured)."""

AHEAD_POSITIONS = 256
"""Who is admitted leaves room for so many further tokens of everyone who runs, so that few have to begin again."""


class Scheduler:
    """The queue, and the sequences that hold a slot. `num_preempted` counts those that had to begin again."""

    def __init__(
        self, slots: Slots, blocks: Blocks, prefix_cache: PrefixCache, chunk_tokens: int, step_tokens: int
    ) -> None:
        self._slots = slots
        self._blocks = blocks
        self._prefix_cache = prefix_cache
        self._chunk_tokens = chunk_tokens
        self._step_tokens = step_tokens
        self.waiting: deque[Sequence] = deque()
        self.prefilling: deque[Sequence] = deque()
        self.decoding: list[Sequence] = []
        """Each of these gets one token a step."""
        self.num_preempted = 0
        self._num_arrived = 0

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
        sequence.rank = self._num_arrived
        self._num_arrived += 1
        is_patient = sequence.job.is_patient
        num_before = sum(is_patient or not waiting.job.is_patient for waiting in self.waiting)
        self.waiting.insert(num_before, sequence)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, whatever its phase, and free its slot and its blocks."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        (self.decoding if sequence in self.decoding else self.prefilling).remove(sequence)
        self._slots.release(sequence.slot)
        self._blocks.release(sequence.slot)
        sequence.slot = None

    def make_room(self, num_blocks: int = 0) -> None:
        """Let there be blocks for the next token of everyone who decodes, and `num_blocks` more."""
        while not self._blocks.free(self._due() + num_blocks) and self.num_running:
            self._preempt()

    def plan(self, now_ns: int) -> dict[Sequence, int]:
        """Admit who fits, then say up to which position each prompt is processed in this step. Call `promote` after."""
        while self.waiting and self._may_begin(self.waiting[0]):
            sequence = self.waiting.popleft()
            sequence.slot = self._slots.admit(sequence.num_positions)
            if sequence.admitted_ns is None:
                sequence.admitted_ns = now_ns
            self.prefilling.append(sequence)
        return self._take_turns()

    def _may_begin(self, sequence: Sequence) -> bool:
        """Whether it fits; patient ones leave half of the slots to others."""
        leaves_half = not self.num_running or 2 * (self.num_running + 1) <= self._slots.num_slots
        return (leaves_half or not sequence.job.is_patient) and self._can_admit(sequence)

    def promote(self) -> None:
        """Move sequences whose prompt is processed over to decoding."""
        prefilling, self.prefilling = self.prefilling, deque()
        for sequence in prefilling:
            (self.decoding if sequence.is_prefilled else self.prefilling).append(sequence)

    def _take_turns(self) -> dict[Sequence, int]:
        """How far each prompt gets in this step: a chunk at a time, in turns, while the next one fits the budget. One
        that continues with what another is already processing waits for that."""
        self._make_room_for_a_chunk()
        budget, stops, num_blocks = self._step_tokens, dict[Sequence, int](), self._due()
        turns, held, done = deque(self.prefilling), deque[Sequence](), deque[Sequence]()
        coming = set[bytes | None]()
        while turns:
            sequence = turns[0]
            start = stops.get(sequence) or self._processed(sequence)
            stop = self._chunk_end(sequence, start)
            if self._prefix_cache.lacks(sequence.prefix_keys, start, sequence.scores) in coming:
                held.append(turns.popleft())
                continue
            budget -= _cost(start, stop)
            num_blocks += self._blocks.spanned(start, stop)
            if stops and (budget < 0 or num_blocks > self._blocks.num_free):
                break
            stops[sequence] = stop
            coming.update(self._prefix_cache.blocks(sequence.prefix_keys, start, stop))
            (done if stop == len(sequence.given) else turns).append(turns.popleft())
        self.prefilling = turns + held + done
        return stops

    def _chunk_end(self, sequence: Sequence, start: int) -> int:
        """A chunk's, or a block's where others would wait too long for a chunk."""
        stop = sequence.chunk_end(start, self._chunk_tokens)
        is_long = self.decoding and _cost(start, stop) > self._step_tokens
        return sequence.chunk_end(start, self._blocks.size) if is_long else stop

    # -- room -----------------------------------------------------------------------------------------------------

    def _can_admit(self, sequence: Sequence) -> bool:
        """Whether it has a slot and, unless it would run alone, blocks for what it is given and for some more of
        everyone."""
        if not self._slots.can_admit(sequence.num_positions):
            return False
        self._prefix_cache.touch(sequence.prefix_keys)
        together = [*self.decoding, *self.prefilling, sequence]
        return self._blocks.free(sum(map(self._ahead, together))) or len(together) == 1

    def _ahead(self, sequence: Sequence) -> int:
        """Blocks that it needs soon."""
        start = sequence.next_position if sequence.is_prefilled else self._processed(sequence)
        known = len(sequence.prompt) + len(sequence.token_ids)
        return self._blocks.spanned(start, min(known + AHEAD_POSITIONS, sequence.num_positions))

    def _processed(self, sequence: Sequence) -> int:
        """How far what is given is processed, by it or by others."""
        return self._prefix_cache.reach(sequence.prefix_keys, sequence.num_prefilled, sequence.scores)

    def _due(self) -> int:
        """Blocks that the next tokens of those who decode need."""
        return sum(sequence.begins_block(self._blocks.size) for sequence in self.decoding)

    def _make_room_for_a_chunk(self) -> None:
        """Let whose turn it is have the blocks of a chunk, even if by going last it loses those it has."""
        while self.prefilling:
            start = self._processed(self.prefilling[0])  # anew each time: what is freed may have been of use to it
            stop = self._chunk_end(self.prefilling[0], start)
            if self._blocks.free(self._due() + self._blocks.spanned(start, stop)):
                return
            self._preempt()

    def _preempt(self) -> None:
        """Whoever came last gives back all it has, and waits to begin again."""
        last = max([*self.decoding, *self.prefilling], key=lambda sequence: (sequence.job.is_patient, sequence.rank))
        self.remove(last)
        last.begin_again()
        self.waiting.appendleft(last)
        self.num_preempted += 1

    # -- integrity -------------------------------------------------------------------------------------------------

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
