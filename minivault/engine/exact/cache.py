"""Keys and values of all sequences in float16: blocks of 32 positions out of one budget, shared by reference.

A block holds, for every layer and group, keys [head size, 32] and values [32, head size rounded up to 16]. Its memory
is the system's until written, and is given back, which clears it, with its last reference.
"""

from __future__ import annotations

import heapq
import mmap
from collections.abc import Iterable

import numpy as np

from minivault.errors import ModelError

BLOCK_TOKENS = 32


def _mapped(num_bytes: int) -> mmap.mmap:
    """Memory that is the system's until it is written. Raises ModelError where there is none to be had."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
    try:
        return mmap.mmap(-1, num_bytes, flags=flags)
    except (OSError, OverflowError) as error:
        raise ModelError(f"no {num_bytes >> 20} MB of memory for keys and values: {error}") from error


class Shared:
    """References to consecutive blocks, held until this object goes."""

    def __init__(self, cache: PagedCache, blocks: tuple[int, ...]) -> None:
        self._cache, self.blocks = cache, blocks
        cache.hold(blocks)

    def __del__(self) -> None:
        self._cache.drop(self.blocks)


class PagedCache:
    """`num_blocks` blocks for sequences of up to `context` positions in `num_slots` slots and one more, for `embed`."""

    def __init__(self, halves_per_block: int, num_slots: int, context: int, cache_bytes: int | None) -> None:
        """With no budget every slot can be full at once. A budget of less than one full slot lowers the context."""
        self.block_bytes = -(-2 * halves_per_block // mmap.PAGESIZE) * mmap.PAGESIZE
        most = num_slots * -(-context // BLOCK_TOKENS)
        self.num_blocks = most if cache_bytes is None else max(1, min(most, cache_bytes // self.block_bytes))
        self.context = min(context, self.num_blocks * BLOCK_TOKENS)
        self.blocks_per_slot = -(-self.context // BLOCK_TOKENS)
        self._memory = _mapped(self.num_blocks * self.block_bytes)
        self.halves = np.frombuffer(self._memory, np.uint16)
        self.table = np.full((num_slots + 1, self.blocks_per_slot), -1, np.int32)
        """The block of every 32 positions of a slot; -1: none yet."""
        self._references = [0] * self.num_blocks
        self._free = list(range(self.num_blocks))

    @property
    def num_free(self) -> int:
        return len(self._free)

    def hold(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            self._references[block] += 1

    def drop(self, blocks: Iterable[int]) -> None:
        for block in blocks:
            self._references[block] -= 1
            if not self._references[block]:
                self._memory.madvise(mmap.MADV_DONTNEED, block * self.block_bytes, self.block_bytes)
                heapq.heappush(self._free, block)

    def prepare(self, slot: int, start: int, stop: int) -> None:
        """Give positions [start, stop) of a slot blocks that are its own. Raises ModelError when the budget is used."""
        for index in range(start // BLOCK_TOKENS, (stop - 1) // BLOCK_TOKENS + 1):
            block = int(self.table[slot, index])
            if block < 0 or self._references[block] > 1:
                self.table[slot, index] = self._own(block)

    def _own(self, shared: int) -> int:
        """A block of one's own: new, or a copy of a shared one that is to be written."""
        if not self._free:
            raise ModelError(f"all {self.num_blocks} blocks of {BLOCK_TOKENS} cached tokens are in use")
        block = heapq.heappop(self._free)
        self.hold([block])
        if shared >= 0:
            size = self.block_bytes // 2
            self.halves[block * size : (block + 1) * size] = self.halves[shared * size : (shared + 1) * size]
            self.drop([shared])
        return block

    def share(self, slot: int, start: int, stop: int) -> Shared:
        """The blocks of positions [start, stop), whole ones."""
        indices = slice(start // BLOCK_TOKENS, stop // BLOCK_TOKENS)
        return Shared(self, tuple(int(block) for block in self.table[slot, indices]))

    def adopt(self, slot: int, start: int, shared: Shared) -> None:
        first = start // BLOCK_TOKENS
        places = slice(first, first + len(shared.blocks))
        self.hold(shared.blocks)
        self.drop(int(block) for block in self.table[slot, places] if block >= 0)
        self.table[slot, places] = shared.blocks

    def release(self, slot: int) -> None:
        self.drop(int(block) for block in self.table[slot] if block >= 0)
        self.table[slot] = -1

    def check_integrity(self) -> None:
        """Raises RuntimeError unless every block is either free or referred to, and slots refer to held ones."""
        held = [block for block, count in enumerate(self._references) if count]
        if sorted([*held, *self._free]) != list(range(self.num_blocks)):
            raise RuntimeError(f"blocks are lost or doubled: free {self._free}, held {held}")
        if not set(self.table[self.table >= 0].tolist()) <= set(held):
            raise RuntimeError("a slot refers to a free block")
