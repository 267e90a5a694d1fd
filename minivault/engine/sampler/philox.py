"""The numbers that tokens are drawn with: 32 bits each, a pure function of who draws, where, and which token.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC'11): a block cipher of few
rounds over a counter, so that any number can be had without those before it. A block holds the numbers of four tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivault.engine.exact.compiling import compiled

CHUNK = 64
"""Tokens whose numbers are made together."""
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10

Words = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


class Stream(NamedTuple):
    """Where numbers come from: the two halves of the key, and two words of the counter. Whoever wants other numbers
    (keyed by something else than a seed, say) makes another of these, and nothing else changes."""

    key_low: int
    key_high: int
    position: int
    purpose: int


@compiled
def _round(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, k: np.uint64, m: np.uint64) -> Words:
    first, second = _MULTIPLIERS[0] * a, _MULTIPLIERS[1] * c
    return (second >> _HALF) ^ b ^ k, second & _LOW, (first >> _HALF) ^ d ^ m, first & _LOW


@compiled
def fill(stream: Stream, start: int, numbers: NDArray[np.int32]) -> None:
    """The numbers of CHUNK tokens from `start` on, a multiple of CHUNK: token t's is word t % 4 of the block with the
    counter (position, t // 4, purpose, 0)."""
    low, high = np.uint64(stream.key_low), np.uint64(stream.key_high)
    position, purpose, first = np.uint64(stream.position), np.uint64(stream.purpose), np.uint64(start // 4)
    for block in range(CHUNK // 4):
        a, b, c, d, k, m = position, first + np.uint64(block), purpose, np.uint64(0), low, high
        for _ in range(_ROUNDS):
            a, b, c, d = _round(a, b, c, d, k, m)
            k, m = (k + _KEY_STEPS[0]) & _LOW, (m + _KEY_STEPS[1]) & _LOW
        numbers[4 * block] = a
        numbers[4 * block + 1] = b
        numbers[4 * block + 2] = c
        numbers[4 * block + 3] = d
