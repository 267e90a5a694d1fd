"""PrefixCache: whole chunks of prompts already processed, to be copied instead of computed.

A chunk is found by a digest over itself and every token before it, so a hit holds bitwise what prefill would have
left in the slot. Only prompt chunks on the runner's grid are stored, never what decode wrote. Least recently used
chunks go first, the end of a prompt before its beginning.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

from minivault.engine.runners import Runner


class PrefixCache:
    """At most `max_bytes` of copied chunks; 0, or a runner that cannot copy, turns it off."""

    def __init__(self, runner: Runner, max_bytes: int) -> None:
        self._runner = runner
        self._chunk = runner.chunk_tokens
        self._chunk_bytes = max(1, runner.bytes_per_slot * self._chunk // max(1, runner.context))
        self._max_chunks = max_bytes // self._chunk_bytes if getattr(runner, "can_copy", True) else 0
        self._blocks: OrderedDict[bytes, object] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        return len(self._blocks) * self._chunk_bytes

    def keys(self, prompt: Sequence[int]) -> tuple[bytes, ...]:
        """The digest of each whole chunk of `prompt`, except one that ends it: the last token must be computed, or
        there would be no logits to go on from."""
        if not self._max_chunks:
            return ()
        keys, key = [], b""
        for start in range(0, len(prompt) - self._chunk, self._chunk):
            key = hashlib.sha256(key + array("q", prompt[start : start + self._chunk]).tobytes()).digest()
            keys.append(key)
        return tuple(keys)

    def restore(self, slot: int, keys: Sequence[bytes], start: int) -> int:
        """Copy every stored chunk that continues `slot` at position `start`; return the position after the last."""
        while start // self._chunk < len(keys) and (block := self._blocks.get(keys[start // self._chunk])) is not None:
            self._runner.copy_in(slot, start, block)
            start += self._chunk
        self._touch(keys[: start // self._chunk])
        return start

    def store(self, slot: int, keys: Sequence[bytes], start: int) -> None:
        """Keep the chunk of `slot` that starts at `start`, if it is one of `keys` and new."""
        index = start // self._chunk
        if index >= len(keys) or index >= self._max_chunks or keys[index] in self._blocks:
            return
        self._blocks[keys[index]] = self._runner.copy_out(slot, start, start + self._chunk)
        self._touch(keys[: index + 1])
        while len(self._blocks) > self._max_chunks:
            self._blocks.popitem(last=False)

    def _touch(self, keys: Sequence[bytes]) -> None:
        """Make a prompt's beginning more recent than what continues it: that alone is of no use."""
        for key in reversed(keys):
            if key in self._blocks:
                self._blocks.move_to_end(key)

    def check_integrity(self) -> None:
        """Raises RuntimeError if more is held than allowed."""
        if len(self._blocks) > self._max_chunks:
            raise RuntimeError(f"{len(self._blocks)} chunks are cached, {self._max_chunks} are allowed")
