"""Blocks: the cache memory that all sequences and the prefix cache share, counted. The tensors are the runner's."""

from __future__ import annotations

import logging

from minivault.engine.prefix_cache import PrefixCache
from minivault.engine.runner import Runner

log = logging.getLogger("minivault.engine")


class Blocks:
    """The blocks of a runner. What its slots do not need, the prefix cache may keep until they do."""

    def __init__(self, runner: Runner, prefix_cache: PrefixCache) -> None:
        self._runner = runner
        self._prefix_cache = prefix_cache
        self.size = runner.block_tokens

    @property
    def usage(self) -> dict[str, int]:
        """The memory there is, in bytes and in tokens, and the tokens in use; of these the reusable ones are given up
        as soon as somebody needs their memory."""
        runner, num_used = self._runner, self._runner.num_blocks - self.num_free
        num_tokens = runner.num_blocks * self.size
        return {
            "bytes": num_tokens * runner.bytes_per_slot // runner.context,
            "tokens": num_tokens,
            "used_tokens": num_used * self.size,
            "reusable_tokens": self._prefix_cache.num_blocks * self.size,
        }

    @property
    def num_free(self) -> int:
        return self._runner.num_free_blocks

    def spanned(self, start: int, stop: int) -> int:
        """How many positions [start, stop) need beyond what those before `start` have."""
        return -(-stop // self.size) - -(-start // self.size)

    def free(self, num: int) -> bool:
        """Whether so many are free, also at the expense of what the prefix cache used longest ago."""
        if self.num_free + self._prefix_cache.num_blocks < num:
            return False
        while self.num_free < num:
            if not self._prefix_cache.evict():
                return False
        return True

    def release(self, slot: int) -> None:
        """Give back all that a slot holds."""
        try:
            self._runner.release(slot)
        except Exception:
            log.exception("the runner could not release slot %d", slot)
