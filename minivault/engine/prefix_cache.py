"""PrefixCache: blocks of prompts already processed, to be copied instead of computed.

A block is found by a digest over itself and every token before it, so a hit holds bitwise what prefill would have
left in the slot. Only whole blocks of a prompt are stored, never what decode wrote. Least recently used blocks go
first, the end of a prompt before its beginning.

A scored prompt takes blocks only as far as their scores are kept too, and leaves its own: some hundred bytes a token,
beside the blocks and gone with them. The last block it could take is computed all the same, because the score of the
token after it needs logits, which nobody keeps.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from minivault.engine.runner import Runner
from minivault.engine.scoring import PromptScores, Scores


class PrefixCache:
    """At most `max_bytes` of copied blocks; 0, or a runner that cannot copy, turns it off."""

    def __init__(self, runner: Runner, max_bytes: int) -> None:
        self._runner = runner
        self._size = runner.block_tokens
        self._block_bytes = max(1, runner.bytes_per_slot * self._size // max(1, runner.context))
        self._max_blocks = max_bytes // self._block_bytes if runner.can_copy else 0
        self._blocks: OrderedDict[bytes, object] = OrderedDict()
        self._scores: dict[bytes, Scores] = {}
        """Of blocks whose prompt was scored."""

    @property
    def num_blocks(self) -> int:
        return len(self._blocks)

    @property
    def num_bytes(self) -> int:
        return len(self._blocks) * self._block_bytes

    def keys(self, prompt: Sequence[int]) -> tuple[bytes, ...]:
        """The digest of each whole block of `prompt`, except one that ends it: the last token must be computed, or
        there would be no logits to go on from."""
        if not self._max_blocks:
            return ()
        keys, key = [], b""
        for start in range(0, len(prompt) - self._size, self._size):
            key = hashlib.sha256(key + array("q", prompt[start : start + self._size]).tobytes()).digest()
            keys.append(key)
        return tuple(keys)

    def reach(self, keys: Sequence[bytes], start: int, scores: PromptScores | None = None) -> int:
        """The position up to which stored blocks can continue a prompt of `keys` processed up to `start`."""
        stop = self._end(keys, start, scores)
        return stop if scores is None else max(start, stop - self._size)

    def _end(self, keys: Sequence[bytes], start: int, scores: PromptScores | None) -> int:
        """The position after the last of the stored blocks that continue a prompt."""
        while start // self._size < len(keys) and self._has(keys[start // self._size], scores):
            start += self._size
        return start

    def _has(self, key: bytes, scores: PromptScores | None) -> bool:
        return key in self._blocks and (scores is None or scores.suffice(self._scores.get(key)))

    def lacks(self, keys: Sequence[bytes], start: int, scores: PromptScores | None = None) -> bytes | None:
        """The first block from `start` on that a prompt of `keys` does not find; None where it finds all."""
        index = self._end(keys, start, scores) // self._size
        return keys[index] if index < len(keys) else None

    def blocks(self, keys: Sequence[bytes], start: int, stop: int) -> Sequence[bytes]:
        """Those of `keys` that are there once positions [start, stop) are processed."""
        return keys[start // self._size : stop // self._size]

    def restore(
        self, slot: int, keys: Sequence[bytes], start: int, stop: int, scores: PromptScores | None = None
    ) -> int:
        """Copy the stored blocks that continue `slot` at position `start` and end before `stop`; return the position
        after the last. What is known of their tokens and the next block's goes to `scores`."""
        stop = min(self.reach(keys, start, scores), (stop - 1) // self._size * self._size)
        for first in range(start, stop, self._size):
            self._runner.copy_in(slot, first, self._blocks[keys[first // self._size]])
        if scores is not None and stop > start:
            for index in range(start // self._size, stop // self._size + 1):
                scores.take(index * self._size, self._scores[keys[index]])
        self.touch(keys[: stop // self._size])
        return stop

    def store(
        self, slot: int, keys: Sequence[bytes], start: int, stop: int, scores: PromptScores | None = None
    ) -> None:
        """Keep the whole blocks of positions [start, stop) of `slot` that are among `keys` and new, with `scores`."""
        last = min(stop // self._size, len(keys), self._max_blocks)
        for index in range(start // self._size, last):
            first = index * self._size
            if keys[index] not in self._blocks:
                self._blocks[keys[index]] = self._runner.copy_out(slot, first, first + self._size)
            if scores is not None and not scores.suffice(self._scores.get(keys[index])):
                self._scores[keys[index]] = scores.of(first, first + self._size)
        self.touch(keys[:last])
        while len(self._blocks) > self._max_blocks:
            self.evict()

    def evict(self) -> bool:
        """Drop the block that was used longest ago; False where there is none."""
        if not self._blocks:
            return False
        key, _ = self._blocks.popitem(last=False)
        self._scores.pop(key, None)
        return True

    def touch(self, keys: Sequence[bytes]) -> None:
        """Make a prompt's beginning more recent than what continues it: that alone is of no use."""
        for key in reversed(keys):
            if key in self._blocks:
                self._blocks.move_to_end(key)

    def check_integrity(self) -> None:
        """Raises RuntimeError if more is held than allowed."""
        if len(self._blocks) > self._max_blocks:
            raise RuntimeError(f"{len(self._blocks)} blocks are cached, {self._max_blocks} are allowed")
        if not self._scores.keys() <= self._blocks.keys():
            raise RuntimeError("scores are kept of blocks that are not")
