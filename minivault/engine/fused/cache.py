"""Keys and values of every slot, in one region of memory that the system hands out page by page as it is touched.

Layout: keys and values [layers, blocks, rows * groups, 256, head_size].
A slot's row can change: slots that decode together are kept in the first rows, so that a batch is a view. A released
slot gives its pages back but for its first block: to get those again would cost a short request 11 ms. Memory that was
not written reads as zeros, never as garbage or as someone's past.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from minivault.engine.fused.attention import BLOCK
from minivault.families import Block


@dataclass(frozen=True, slots=True)
class Stretch:
    """Keys and values [layers, groups, n, head_size] of n consecutive positions."""

    keys: torch.Tensor
    values: torch.Tensor


class Region:
    """Float32 zeros [layers, blocks, slots * groups, …] that take no memory until written."""

    def __init__(self, *sizes: int) -> None:
        self.memory = mmap.mmap(-1, 4 * torch.Size(sizes).numel(), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.tensor = torch.frombuffer(self.memory, dtype=torch.float32).view(*sizes)

    def give_back(self, block: int, rows: slice) -> None:
        """Make these rows zeros again, in every layer, giving whole pages back."""
        for part in self.tensor[:, block, rows]:
            first, num_bytes = 4 * part.storage_offset(), 4 * part.numel()
            if first % mmap.PAGESIZE or num_bytes % mmap.PAGESIZE:
                part.zero_()
            else:
                self.memory.madvise(mmap.MADV_DONTNEED, first, num_bytes)


class KVCache:
    """`num_slots` sequences of up to `context` positions."""

    def __init__(self, block: Block, num_slots: int, context: int) -> None:
        self.groups, self.size = block.num_groups, block.head_size
        self.num_slots, blocks = num_slots, -(-context // BLOCK)
        rows = num_slots * self.groups
        sizes = block.num_layers, blocks, rows, BLOCK, self.size
        self.regions = Region(*sizes), Region(*sizes)
        self.keys, self.values = (region.tensor for region in self.regions)
        self.row_of = list(range(num_slots))
        self.slot_of = list(range(num_slots))
        self.lengths = [0] * num_slots
        """Positions of each slot that were written since its release."""

    @property
    def bytes_per_slot(self) -> int:
        return 4 * (self.keys.numel() + self.values.numel()) // self.num_slots

    def rows(self, slot: int) -> slice:
        first = self.row_of[slot] * self.groups
        return slice(first, first + self.groups)

    def gather(self, slots: Sequence[int]) -> None:
        """Make rows 0 … len(slots) - 1 those of `slots`, in any order."""
        wanted, count = set(slots), len(slots)
        strangers = [slot for slot in self.slot_of[:count] if slot not in wanted]
        for slot in slots:
            if self.row_of[slot] >= count:
                self._swap(slot, strangers.pop())

    def _swap(self, slot: int, other: int) -> None:
        """Exchange the rows of two slots, moving no more than was written; `other` may be empty."""
        for block, used in _written(max(self.lengths[slot], self.lengths[other])):
            for mine, theirs in zip(self._used(slot, block, used), self._used(other, block, used), strict=True):
                if self.lengths[other]:
                    kept = mine.clone()
                    mine.copy_(theirs)
                    theirs.copy_(kept)
                else:
                    theirs.copy_(mine)
            if not self.lengths[other]:
                self._clear(slot, block, used)
        self.row_of[slot], self.row_of[other] = self.row_of[other], self.row_of[slot]
        self.slot_of[self.row_of[slot]], self.slot_of[self.row_of[other]] = slot, other

    def _clear(self, slot: int, block: int, used: slice) -> None:
        """Make what was written in a block zeros again."""
        if block:
            for region in self.regions:
                region.give_back(block, self.rows(slot))
        else:
            for part in self._used(slot, block, used):
                part.zero_()

    def _used(self, slot: int, block: int, used: slice) -> tuple[torch.Tensor, torch.Tensor]:
        rows = self.rows(slot)
        return self.keys[:, block, rows, used], self.values[:, block, rows, used]

    def of(self, slot: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The slot's keys and values [layers, blocks, groups, 256, size]."""
        rows = self.rows(slot)
        return self.keys[:, :, rows], self.values[:, :, rows]

    def stretch(self, slot: int, start: int, stop: int) -> Stretch:
        """A view of positions [start, stop), which lie within one block."""
        keys, values = self.of(slot)
        block, first = divmod(start, BLOCK)
        inside = slice(first, first + stop - start)
        return Stretch(keys[:, block, :, inside], values[:, block, :, inside])

    def wrote(self, slot: int, stop: int) -> None:
        self.lengths[slot] = max(self.lengths[slot], stop)

    def places(self, slots: Sequence[int], positions: torch.Tensor) -> torch.Tensor:
        """Where one new position of each slot goes: rows of a layer's keys and values, seen as [rows, head_size]."""
        rows = torch.tensor([self.row_of[slot] for slot in slots])
        block, inside = positions // BLOCK, positions % BLOCK
        head = ((block * self.num_slots + rows) * self.groups)[:, None] + torch.arange(self.groups)
        return (head * BLOCK + inside[:, None]).flatten()

    def copy_out(self, slot: int, start: int, stop: int) -> list[Stretch]:
        """Positions [start, stop) as values of their own, one per block."""
        edges = [start, *range((start // BLOCK + 1) * BLOCK, stop, BLOCK), stop]
        views = [self.stretch(slot, first, last) for first, last in pairwise(edges)]
        return [Stretch(view.keys.clone(), view.values.clone()) for view in views]

    def copy_in(self, slot: int, start: int, stretches: Sequence[Stretch]) -> None:
        for stretch in stretches:
            stop = start + stretch.values.size(2)
            view = self.stretch(slot, start, stop)
            view.keys.copy_(stretch.keys)
            view.values.copy_(stretch.values)
            self.wrote(slot, stop)
            start = stop

    def release(self, slot: int) -> None:
        for block, used in _written(self.lengths[slot]):
            self._clear(slot, block, used)
        self.lengths[slot] = 0


def _written(length: int) -> Iterator[tuple[int, slice]]:
    """Each block that holds some of the first `length` positions, and which of its positions those are."""
    for block in range(-(-length // BLOCK)):
        yield block, slice(min(length - block * BLOCK, BLOCK))
